package chat

import (
	"fmt"
	"slices"
)

// maxDepth bounds how deep statements and expressions lie in each other.
const maxDepth = 200

type parser struct {
	tokens []token
	i      int
	depth  int
	loops  int // that are open here
}

// fail ends parsing: recovered in Parse.
func (p *parser) fail(format string, args ...any) {
	panic(&Error{Line: p.peek().line, Message: fmt.Sprintf(format, args...)})
}

func (p *parser) peek() token { return p.tokens[p.i] }

func (p *parser) next() token {
	t := p.tokens[p.i]
	if t.kind != endOfTemplate {
		p.i++
	}
	return t
}

func (p *parser) here() line { return line(p.peek().line) }

// skip takes a token if it comes.
func (p *parser) skip(k kind, text string) bool {
	ok := p.peek().is(k, text)
	if ok {
		p.i++
	}
	return ok
}

func (p *parser) expect(k kind, text string) {
	if !p.skip(k, text) {
		p.fail("want %q, got %s", text, p.peek())
	}
}

func (p *parser) name() string {
	if t := p.peek(); t.kind != name {
		p.fail("want a name, got %s", t)
	}
	return p.next().text
}

func (p *parser) deeper() func() {
	if p.depth++; p.depth > maxDepth {
		p.fail("more than %d levels in each other", maxDepth)
	}
	return func() { p.depth-- }
}

// statements reads up to a block with one of the names ends, whose name it has taken.
func (p *parser) statements(ends ...string) (body []statement, end string) {
	defer p.deeper()()
	from := p.tokens[max(p.i-1, 0)].line // of the tag that is to be ended
	for {
		switch t := p.next(); t.kind {
		case endOfTemplate:
			if len(ends) > 0 {
				panic(&Error{Line: from, Message: fmt.Sprintf("{%% %s %%} is missing", ends[len(ends)-1])})
			}
			return body, ""
		case data:
			body = append(body, &textOf{line(t.line), t.text})
		case variableBegin:
			body = append(body, &output{line(t.line), p.tuple(true)})
			p.expect(variableEnd, "}}")
		case blockBegin:
			if next := p.peek(); next.kind == name && slices.Contains(ends, next.text) {
				return body, p.next().text
			}
			body = append(body, p.block())
		}
	}
}

func (p *parser) blockEnd() { p.expect(blockEnd, "%}") }

// until reads a body and the block that ends it.
func (p *parser) until(end string) []statement {
	body, _ := p.statements(end)
	p.blockEnd()
	return body
}

func (p *parser) block() statement {
	at := p.here()
	switch what := p.name(); what {
	case "if":
		return p.ifElse(at)
	case "for":
		return p.forIn(at)
	case "set":
		return p.set(at)
	case "macro":
		m := &macroDef{line: at, name: p.name()}
		p.params(m)
		p.blockEnd()
		m.body = p.function("endmacro")
		return m
	case "call":
		m := &macroDef{line: at, name: "caller"}
		if p.peek().is(operator, "(") {
			p.params(m)
		}
		c, ok := p.unary(true).(*call)
		if !ok {
			p.fail("call of no macro")
		}
		p.blockEnd()
		m.body = p.function("endcall")
		return &callBlock{at, m, c}
	case "filter":
		f := p.filters(nil, p.name())
		p.blockEnd()
		return &filterBlock{at, f, p.until("endfilter")}
	case "generation":
		p.blockEnd()
		return &generation{at, p.function("endgeneration")}
	case "break", "continue":
		if p.loops == 0 {
			p.fail("%s outside of a loop", what)
		}
		p.blockEnd()
		return &jump{at, what == "continue"}
	default:
		p.i--
		p.fail("a block %q is not supported", what)
		return nil
	}
}

// function reads a body that Jinja makes a function of: no loop around it can be left from there.
func (p *parser) function(end string) []statement {
	loops := p.loops
	p.loops = 0
	defer func() { p.loops = loops }()
	return p.until(end)
}

func (p *parser) ifElse(at line) statement {
	s := &ifElse{line: at, condition: p.tuple(false)}
	p.blockEnd()
	var end string
	s.then, end = p.statements("elif", "else", "endif")
	switch end {
	case "elif":
		defer p.deeper()()
		s.else_ = []statement{p.ifElse(p.here())}
		return s
	case "else":
		p.blockEnd()
		s.else_, _ = p.statements("endif")
	}
	p.blockEnd()
	return s
}

func (p *parser) forIn(at line) statement {
	s := &forIn{line: at}
	s.targets, s.unpack = p.targets()
	p.expect(name, "in")
	s.in = p.tuple(false)
	if p.skip(name, "if") {
		s.where = p.expression()
	}
	if p.peek().is(name, "recursive") {
		p.fail("a recursive loop is not supported")
	}
	p.blockEnd()
	p.loops++
	var end string
	s.body, end = p.statements("else", "endfor")
	p.loops--
	p.blockEnd()
	if end == "else" {
		s.else_ = p.until("endfor")
	}
	return s
}

// targets reads names that are assigned to.
func (p *parser) targets() (names []string, unpack bool) {
	paren := p.skip(operator, "(")
	for {
		n := p.name()
		if slices.Contains([]string{"true", "false", "none", "True", "False", "None", "loop"}, n) {
			p.fail("%q cannot be assigned to", n)
		}
		names = append(names, n)
		if !p.skip(operator, ",") {
			break
		}
		unpack = true
		if p.peek().kind != name || p.peek().text == "in" {
			break
		}
	}
	if paren {
		p.expect(operator, ")")
	}
	return names, unpack
}

func (p *parser) set(at line) statement {
	s := &set{line: at}
	s.targets, s.unpack = p.targets()
	if !s.unpack && p.skip(operator, ".") {
		s.attr = p.name()
	}
	if p.skip(operator, "=") {
		s.value = p.tuple(true)
		p.blockEnd()
		return s
	}
	if s.unpack {
		p.fail("want =, got %s", p.peek())
	}
	if p.skip(operator, "|") {
		s.filter = p.filters(nil, p.name())
	}
	p.blockEnd()
	s.body = p.until("endset")
	if s.body == nil {
		s.body = []statement{}
	}
	return s
}

func (p *parser) params(m *macroDef) {
	p.expect(operator, "(")
	for !p.skip(operator, ")") {
		if len(m.params) > 0 {
			p.expect(operator, ",")
		}
		n := p.name()
		if slices.Contains(m.params, n) {
			p.fail("two parameters %q", n)
		}
		m.params = append(m.params, n)
		if p.skip(operator, "=") {
			m.defaults = append(m.defaults, p.expression())
		} else if len(m.defaults) > 0 {
			p.fail("parameter %q has no default, but one before it has", n)
		}
	}
}
