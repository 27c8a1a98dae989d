// c10d's store and process groups. What differs between libtorch 1.13 and 2.x is written so that both compile it.
#include "c10d.h"
#include "group.h"

#define USE_C10D_GLOO
#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <cstdlib>
#include <cstring>

using at::Tensor;

namespace {

Tensor &deref(uintptr_t t) { return *reinterpret_cast<Tensor *>(t); }
c10d::TCPStore &store(dist_store s) { return **reinterpret_cast<c10::intrusive_ptr<c10d::TCPStore> *>(s); }
Group &group(dist_group g) { return *reinterpret_cast<Group *>(g); }

template <class F> char *guarded(F f) {
  try {
    f();
    return nullptr;
  } catch (const c10::Error &e) {
    return strdup(e.what_without_backtrace());
  } catch (const std::exception &e) {
    return strdup(e.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}

void finish(const c10::intrusive_ptr<c10d::Work> &work) {
  work->wait();
}

// Gloo has no reduce-scatter: all chunks for a rank go to it, which adds them up in the order of ranks.
void reduceScatter(Group &g, Tensor &out, Tensor &in) {
  if (in.is_cuda()) {
    c10d::ReduceScatterOptions options;
    finish(g.of(in)._reduce_scatter_base(out, in, options));
    return;
  }
  Tensor received = at::empty_like(in);
  std::vector<int64_t> even;
  finish(g.of(in).alltoall_base(received, in, even, even));
  at::sum_out(out, received.view({g.world, -1}), 0);
}

void allGather(Group &g, Tensor &out, Tensor &in) {
  if (in.is_cuda()) {
    finish(g.of(in)._allgather_base(out, in));
    return;
  }
  std::vector<Tensor> inputs{in};
  std::vector<std::vector<Tensor>> outputs{out.view({g.world, -1}).unbind(0)};
  finish(g.of(in).allgather(outputs, inputs));
}

} // namespace

extern "C" {

char *dist_store_open(const char *host, int port, int server, int64_t timeout_ms, dist_store *out) {
  return guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port);
    options.isServer = server != 0;
    options.waitWorkers = false;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    auto s = c10::make_intrusive<c10d::TCPStore>(std::string(host), options);
    *out = reinterpret_cast<dist_store>(new c10::intrusive_ptr<c10d::TCPStore>(std::move(s)));
  });
}

int dist_store_port(dist_store s) { return store(s).getPort(); }

char *dist_store_set(dist_store s, const char *key, const void *value, int64_t n) {
  return guarded([&] {
    auto *p = static_cast<const uint8_t *>(value);
    store(s).set(key, std::vector<uint8_t>(p, p + n));
  });
}

char *dist_store_get(dist_store s, const char *key, void **value, int64_t *n) {
  return guarded([&] {
    std::vector<uint8_t> v = store(s).get(key);
    *n = static_cast<int64_t>(v.size());
    *value = std::malloc(v.size() + 1);
    std::memcpy(*value, v.data(), v.size());
  });
}

char *dist_store_add(dist_store s, const char *key, int64_t delta, int64_t *sum) {
  return guarded([&] { *sum = store(s).add(key, delta); });
}

char *dist_group_new(dist_store s, const char *name, int rank, int world, const char *address, int cuda, int64_t timeout_ms, dist_group *out) {
  return guarded([&] {
    auto timeout = std::chrono::milliseconds(timeout_ms);
    auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(address));
    options->threads = 2;
    c10::intrusive_ptr<c10d::Store> all = *reinterpret_cast<c10::intrusive_ptr<c10d::TCPStore> *>(s);
    auto shared = c10::make_intrusive<c10d::PrefixStore>(name, all);
    auto *g = new Group{world};
    g->cpu = c10::make_intrusive<c10d::ProcessGroupGloo>(c10::make_intrusive<c10d::PrefixStore>("cpu", shared), rank, world, options);
    if (cuda >= 0) {
      TORCH_CHECK(newNCCL != nullptr, "this trainer is built without NCCL: build it with -tags cuda against a CUDA libtorch");
      g->gpu = newNCCL(c10::make_intrusive<c10d::PrefixStore>("gpu", shared), rank, world, cuda, timeout);
    }
    *out = reinterpret_cast<dist_group>(g);
  });
}

char *dist_all_reduce(dist_group g, uintptr_t t) {
  return guarded([&] {
    std::vector<Tensor> tensors{deref(t)};
    finish(group(g).of(deref(t)).allreduce(tensors));
  });
}

char *dist_broadcast(dist_group g, uintptr_t t, int root) {
  return guarded([&] {
    std::vector<Tensor> tensors{deref(t)};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    finish(group(g).of(deref(t)).broadcast(tensors, options));
  });
}

char *dist_all_gather(dist_group g, uintptr_t out, uintptr_t in) {
  return guarded([&] { allGather(group(g), deref(out), deref(in)); });
}

char *dist_reduce_scatter(dist_group g, uintptr_t out, uintptr_t in) {
  return guarded([&] { reduceScatter(group(g), deref(out), deref(in)); });
}

char *dist_all_gather_bytes(dist_group g, void *out, const void *in, int64_t n) {
  return guarded([&] {
    Tensor to = at::from_blob(out, {group(g).world * n}, at::kByte);
    Tensor from = at::from_blob(const_cast<void *>(in), {n}, at::kByte);
    allGather(group(g), to, from);
  });
}
}
