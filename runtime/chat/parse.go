package chat

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// maxDepth bounds how deep statements and expressions lie in each other.
const maxDepth = 200

// Statements.
type (
	statement interface{ at() int }
	line      int

	textOf struct {
		line
		text string
	}
	output struct {
		line
		value expression
	}
	ifElse struct {
		line
		condition   expression
		then, else_ []statement
	}
	forIn struct {
		line
		targets     []string // one, or what each item is unpacked into
		unpack      bool
		in, where   expression
		body, else_ []statement
	}
	set struct {
		line
		targets []string
		attr    string // of a namespace, targets[0]
		unpack  bool
		value   expression
		body    []statement // of {% set x %}...{% endset %}
		filter  expression  // applied to the body, which is its input
	}
	macroDef struct {
		line
		name     string
		params   []string
		defaults []expression // of the last parameters
		body     []statement
	}
	filterBlock struct {
		line
		filter expression
		body   []statement
	}
	callBlock struct {
		line
		caller *macroDef
		call   *call
	}
	generation struct {
		line
		body []statement
	}
	jump struct {
		line
		continues bool
	}
)

func (l line) at() int { return int(l) }

// Expressions.
type (
	expression interface{ at() int }

	constant struct {
		line
		value any
	}
	variable struct {
		line
		name string
	}
	attribute struct {
		line
		of   expression
		name string
	}
	item struct {
		line
		of, key expression
	}
	slice struct {
		line
		of                expression
		start, stop, step expression // nil where left out
	}
	call struct {
		line
		function expression
		args     []expression
		names    []string // of the named arguments
		named    []expression
	}
	filter struct { // or test
		line
		name  string
		value expression // nil: the body of a block
		args  []expression
		names []string
		named []expression
		test  bool
	}
	unary struct {
		line
		op    string
		value expression
	}
	binary struct {
		line
		op          string
		left, right expression
	}
	compare struct {
		line
		first expression
		ops   []string
		rest  []expression
	}
	conditional struct {
		line
		condition, then, else_ expression // else_ may be nil
	}
	listOf struct {
		line
		items []expression
		tuple bool
	}
	dictOf struct {
		line
		keys, values []expression
	}
)

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
	for n := 0; !p.skip(operator, ")"); n++ {
		if n > 0 {
			p.expect(operator, ",")
			if p.skip(operator, ")") {
				break
			}
		}
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
	}
	return args, names, named
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
		for !p.skip(operator, "]") {
			if len(l.items) > 0 {
				p.expect(operator, ",")
				if p.skip(operator, "]") {
					break
				}
			}
			l.items = append(l.items, p.expression())
		}
		return l
	case t.is(operator, "{"):
		d := &dictOf{line: at}
		for !p.skip(operator, "}") {
			if len(d.keys) > 0 {
				p.expect(operator, ",")
				if p.skip(operator, "}") {
					break
				}
			}
			d.keys = append(d.keys, p.expression())
			p.expect(operator, ":")
			d.values = append(d.values, p.expression())
		}
		return d
	}
	p.i = max(p.i-1, 0)
	p.fail("unexpected %s", t)
	return nil
}
