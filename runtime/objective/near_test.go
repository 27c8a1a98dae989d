package objective_test

import "github.com/alignment-dev/alignment-operator/runtime/objective"

// near is the tests' comparison of numbers, in this package too.
var near = objective.Near
