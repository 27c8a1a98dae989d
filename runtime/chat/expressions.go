package chat

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// tuple reads expressions with commas between them: one is itself.
func (p *parser) tuple(condition bool) expression {
	at := p.here()
	one := p.or
	if condition {
		one = p.expression
	}
	var items []expression
	comma := false
	for {
		if len(items) > 0 {
			if !p.skip(operator, ",") {
				break
			}
			comma = true
		}
		if t := p.peek(); t.kind == variableEnd || t.kind == blockEnd || t.is(operator, ")") || t.is(name, "in") && len(items) > 0 {
			break
		}
		items = append(items, one())
	}
	if len(items) == 0 {
		p.fail("want an expression, got %s", p.peek())
	}
	if !comma {
		return items[0]
	}
	return &listOf{at, items, true}
}

// expression reads a if b else c, and what binds tighter.
func (p *parser) expression() expression {
	defer p.deeper()()
	at, e := p.here(), p.or()
	for p.skip(name, "if") {
		c := &conditional{line: at, then: e, condition: p.or()}
		if p.skip(name, "else") {
			c.else_ = p.expression()
		}
		e = c
	}
	return e
}

func (p *parser) or() expression {
	defer p.deeper()()
	return p.left(func() expression { return p.left(p.not, name, "and") }, name, "or")
}

// left reads operators of one precedence, from left to right.
func (p *parser) left(operand func() expression, k kind, ops ...string) expression {
	at, e := p.here(), operand()
	for n := 0; p.peek().kind == k && slices.Contains(ops, p.peek().text); n++ {
		if n > maxDepth*10 {
			p.fail("too many operators")
		}
		op := p.next().text
		e = &binary{at, op, e, operand()}
	}
	return e
}

func (p *parser) not() expression {
	defer p.deeper()()
	if at := p.here(); p.skip(name, "not") {
		return &unary{at, "not", p.not()}
	}
	return p.compare()
}

func (p *parser) compare() expression {
	c := &compare{line: p.here(), first: p.sum()}
	for {
		t := p.peek()
		switch {
		case t.kind == operator && slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, t.text), t.is(name, "in"):
			p.i++
		case t.is(name, "not") && p.tokens[p.i+1].is(name, "in"):
			p.i += 2
			t.text = "not in"
		default:
			if len(c.ops) == 0 {
				return c.first
			}
			return c
		}
		c.ops, c.rest = append(c.ops, t.text), append(c.rest, p.sum())
	}
}

func (p *parser) sum() expression {
	power := func() expression {
		return p.left(func() expression { return p.unary(true) }, operator, "**")
	}
	product := func() expression { return p.left(power, operator, "*", "/", "//", "%") }
	joined := func() expression { return p.left(product, operator, "~") }
	return p.left(joined, operator, "+", "-")
}

func (p *parser) unary(filters bool) expression {
	defer p.deeper()()
	at := p.here()
	var e expression
	switch {
	case p.skip(operator, "-"):
		e = &unary{at, "-", p.unary(false)}
	case p.skip(operator, "+"):
		e = &unary{at, "+", p.unary(false)}
	default:
		e = p.primary()
	}
	e = p.postfix(e)
	for n := 0; filters; n++ {
		if n > maxDepth {
			p.fail("too many filters")
		}
		switch {
		case p.skip(operator, "|"):
			e = p.filter(e, p.name())
		case p.skip(name, "is"):
			e = p.test(e)
		case p.peek().is(operator, "("):
			e = p.call(e)
		default:
			return e
		}
	}
	return e
}

// filters reads the filters of a block, from the name of the first.
func (p *parser) filters(e expression, first string) expression {
	e = p.filter(e, first)
	for p.skip(operator, "|") {
		e = p.filter(e, p.name())
	}
	return e
}

func (p *parser) filter(value expression, name string) expression {
	f := &filter{line: p.here(), name: name, value: value}
	if _, ok := filters[name]; !ok {
		p.fail("a filter %q is not supported", name)
	}
	if p.peek().is(operator, "(") {
		f.args, f.names, f.named = p.args()
	}
	return f
}

func (p *parser) test(value expression) expression {
	at := p.here()
	not := p.skip(name, "not")
	f := &filter{line: at, value: value, test: true, name: p.name()}
	if _, ok := tests[f.name]; !ok {
		p.fail("a test %q is not supported", f.name)
	}
	switch t := p.peek(); {
	case t.is(operator, "("):
		f.args, f.names, f.named = p.args()
	case t.kind == str, t.kind == integer, t.kind == float, t.is(operator, "["), t.is(operator, "{"),
		t.kind == name && !slices.Contains([]string{"else", "or", "and", "is"}, t.text):
		f.args = []expression{p.postfix(p.primary())}
	case t.is(name, "is"):
		p.fail("a test of a test")
	}
	if not {
		return &unary{at, "not", f}
	}
	return f
}

func (p *parser) postfix(e expression) expression {
	for n := 0; ; n++ {
		if n > maxDepth {
			p.fail("too many attributes")
		}
		at := p.here()
		switch {
		case p.skip(operator, "."):
			if t := p.peek(); t.kind == integer {
				e = &item{at, e, p.primary()}
			} else {
				e = &attribute{at, e, p.name()}
			}
		case p.skip(operator, "["):
			e = p.subscript(at, e)
		case p.peek().is(operator, "("):
			e = p.call(e)
		default:
			return e
		}
	}
}

func (p *parser) subscript(at line, of expression) expression {
	var parts [3]expression
	n := 0
	for !p.skip(operator, "]") {
		if p.skip(operator, ":") {
			if n++; n > 2 {
				p.fail("a slice of more than three")
			}
			continue
		}
		if parts[n] != nil {
			p.fail("want ], got %s", p.peek())
		}
		parts[n] = p.expression()
	}
	switch {
	case n > 0:
		return &slice{at, of, parts[0], parts[1], parts[2]}
	case parts[0] == nil:
		p.fail("an empty subscript")
	}
	return &item{at, of, parts[0]}
}

func (p *parser) call(function expression) expression {
	c := &call{line: p.here(), function: function}
	c.args, c.names, c.named = p.args()
	return c
}

func (p *parser) args() (args []expression, names []string, named []expression) {
	p.expect(operator, "(")
	p.upTo(")", func() {
		switch t := p.peek(); {
		case t.is(operator, "*"), t.is(operator, "**"):
			p.fail("%s before an argument is not supported", t.text)
		case t.kind == name && p.tokens[p.i+1].is(operator, "="):
			p.i += 2
			if slices.Contains(names, t.text) {
				p.fail("two arguments %q", t.text)
			}
			names, named = append(names, t.text), append(named, p.expression())
		case len(names) > 0:
			p.fail("an argument without a name after %q", names[len(names)-1])
		default:
			args = append(args, p.expression())
		}
	})
	return args, names, named
}

// upTo parses items between commas up to the sign that ends them; a comma may stand before it.
func (p *parser) upTo(end string, item func()) {
	for first := true; !p.skip(operator, end); first = false {
		if !first {
			p.expect(operator, ",")
			if p.skip(operator, end) {
				return
			}
		}
		item()
	}
}

func (p *parser) primary() expression {
	at := p.here()
	t := p.next()
	switch {
	case t.kind == name:
		switch t.text {
		case "true", "True":
			return &constant{at, true}
		case "false", "False":
			return &constant{at, false}
		case "none", "None":
			return &constant{at, nil}
		}
		return &variable{at, t.text}
	case t.kind == str:
		var b strings.Builder
		b.WriteString(t.text)
		for p.peek().kind == str {
			b.WriteString(p.next().text)
		}
		return &constant{at, b.String()}
	case t.kind == integer:
		n, err := strconv.ParseInt(strings.TrimLeft(t.text, "0"), 10, 64)
		if len(t.text) > 1 && t.text[0] == '0' {
			n, err = strconv.ParseInt(t.text, 0, 64)
		} else if t.text == "0" {
			n, err = 0, nil
		}
		if err != nil {
			p.fail("the number %s is too large", t.text)
		}
		return &constant{at, n}
	case t.kind == float:
		n, err := strconv.ParseFloat(t.text, 64)
		if err != nil || math.IsInf(n, 0) {
			p.fail("the number %s is too large", t.text)
		}
		return &constant{at, n}
	case t.is(operator, "("):
		if p.skip(operator, ")") {
			return &listOf{at, nil, true}
		}
		e := p.tuple(true)
		p.expect(operator, ")")
		return e
	case t.is(operator, "["):
		l := &listOf{line: at}
		p.upTo("]", func() { l.items = append(l.items, p.expression()) })
		return l
	case t.is(operator, "{"):
		d := &dictOf{line: at}
		p.upTo("}", func() {
			d.keys = append(d.keys, p.expression())
			p.expect(operator, ":")
			d.values = append(d.values, p.expression())
		})
		return d
	}
	p.i = max(p.i-1, 0)
	p.fail("unexpected %s", t)
	return nil
}
