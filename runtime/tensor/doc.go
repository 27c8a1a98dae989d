// Package tensor is the trainer's only way to libtorch: its operators, its autograd, and scopes that own memory.
// It is the only package that uses cgo. It imports nothing of this module, and no Kubernetes client.
//
// All tensor code runs inside [Run], one goroutine at a time:
//
//	err := tensor.Run(func() error {
//		x := tensor.FromFloat32([]float32{1, 2, 3, 4}, 2, 2) // [rows, cols]
//		y := x.MatMul(x).Sum()                               // scalar
//		fmt.Println(y.Item())
//		return nil
//	})
//
// Operators panic with an [*Error], which Run returns. Every tensor belongs to the innermost scope and is freed at its
// end ([Scoped], [Tensor.Keep]); nothing waits for Go's garbage collector. What an operator is called is libtorch's
// schema ("aten::matmul"), and [Call] reaches every operator there is, with a wrapper here or without.
//
// # Which libtorch
//
// By default Debian's libtorch-dev (1.13, headers in /usr/include). Another one, unpacked at $LIBTORCH, is chosen with
//
//	export CGO_CXXFLAGS="-I$LIBTORCH/include -I$LIBTORCH/include/torch/csrc/api/include -D_GLIBCXX_USE_CXX11_ABI=1"
//	export CGO_LDFLAGS="-L$LIBTORCH/lib -Wl,-rpath,$LIBTORCH/lib"
//
// (the ABI macro is 0 for builds before 2.6 that are not named cxx11-abi; g++ 11 or newer), or, where torch.pc exists, with
// the build tag torch_pkgconfig. A CUDA build is found at run time: libtorch_cuda.so is loaded if it is there.
//
// The environment (OpenBLAS' kernels, OpenMP's threads, malloc) is worth more than most code: see [ReexecTuned].
package tensor
