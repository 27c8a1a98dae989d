package tensor

/*
#cgo CXXFLAGS: -std=c++20 -O2 -Wno-deprecated-declarations
#cgo !torch_pkgconfig CXXFLAGS: -I/usr/include/torch/csrc/api/include
#cgo !torch_pkgconfig LDFLAGS: -ltorch_cpu -lc10
#cgo torch_pkgconfig pkg-config: torch
#cgo LDFLAGS: -ldl
#cgo noescape at_call
#cgo nocallback at_call
#cgo noescape at_free
#cgo nocallback at_free
#cgo noescape at_shape
#cgo nocallback at_shape
#include "bridge.h"
*/
import "C"
