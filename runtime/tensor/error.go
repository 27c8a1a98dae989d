package tensor

import (
	"fmt"
	"strings"
)

// Error is what goes wrong in an operator. Operators panic with it; Run returns it.
type Error struct {
	Op      string    // the operator's name, such as aten::matmul, or the function of this package
	Shapes  [][]int64 // of the arguments that are tensors, in order
	Message string    // libtorch's words, without its backtrace
}

func (e *Error) Error() string {
	if len(e.Shapes) == 0 {
		return e.Op + ": " + e.Message
	}
	return fmt.Sprintf("%s: %s (shapes %v)", e.Op, e.Message, e.Shapes)
}

// firstLine keeps what a reader needs of a C++ exception's text.
func firstLine(message string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
	return strings.TrimSpace(line)
}

func throw(op, format string, args ...any) {
	panic(&Error{Op: op, Message: fmt.Sprintf(format, args...)})
}
