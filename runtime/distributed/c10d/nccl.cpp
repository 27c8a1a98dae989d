//go:build cuda

// NCCL, in a file of its own: it needs CUDA's headers and libraries.
#include "group.h"

#define USE_C10D_NCCL
#include <c10/cuda/CUDAGuard.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

namespace {
c10::intrusive_ptr<Backend> make(const c10::intrusive_ptr<c10d::Store> &store, int rank, int world, int device,
                                 std::chrono::milliseconds timeout) {
  c10::cuda::set_device(static_cast<c10::DeviceIndex>(device));
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, world, options);
}
} // namespace

c10::intrusive_ptr<Backend> (*newNCCL)(const c10::intrusive_ptr<c10d::Store> &, int, int, int, std::chrono::milliseconds) = &make;
