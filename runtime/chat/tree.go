package chat

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
