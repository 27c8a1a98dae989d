// What c10d.cpp and nccl.cpp share.
#pragma once
#include <ATen/core/Tensor.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/version.h>
#if TORCH_VERSION_MAJOR >= 2
#include <torch/csrc/distributed/c10d/Backend.hpp>
#endif

#include <chrono>

#if TORCH_VERSION_MAJOR >= 2
using Backend = c10d::Backend;
#else
using Backend = c10d::ProcessGroup;
#endif

struct Group {
  int64_t world;
  c10::intrusive_ptr<Backend> cpu, gpu;

  Backend &of(const at::Tensor &t) {
    TORCH_CHECK(!t.is_cuda() || gpu, "the group was made for tensors of the CPU");
    return t.is_cuda() ? *gpu : *cpu;
  }
};

// Null unless nccl.cpp is part of the build.
extern c10::intrusive_ptr<Backend> (*newNCCL)(const c10::intrusive_ptr<c10d::Store> &, int rank, int world, int device,
                                             std::chrono::milliseconds timeout);
