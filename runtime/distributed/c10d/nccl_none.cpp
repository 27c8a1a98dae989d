//go:build !cuda

#include "group.h"

c10::intrusive_ptr<Backend> (*newNCCL)(const c10::intrusive_ptr<c10d::Store> &, int, int, int, std::chrono::milliseconds) = nullptr;
