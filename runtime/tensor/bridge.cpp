// Operators by schema name, called boxed. Nothing here is about one operator; what differs between libtorch 1.13 and
// 2.x is written so that both compile it.
#include "bridge.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ScalarOps.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/jit_type.h>
#include <c10/core/Allocator.h>
#include <c10/core/GradMode.h>
#include <dlfcn.h>
#include <malloc.h>
#include <sys/mman.h>
#include <torch/version.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

using at::Tensor;
using c10::IValue;
using c10::TypeKind;

namespace {

Tensor &deref(at_tensor t) { return *reinterpret_cast<Tensor *>(t); }
at_tensor handle(Tensor t) { return t.defined() ? reinterpret_cast<at_tensor>(new Tensor(std::move(t))) : 0; }

// ---- errors

thread_local std::string message;

template <class F> const char *guarded(F f) {
  try {
    f();
    return nullptr;
  } catch (const c10::Error &e) {
    message = e.what_without_backtrace();
  } catch (const std::exception &e) {
    message = e.what();
  } catch (...) {
    message = "unknown C++ exception";
  }
  return message.c_str();
}

// ---- memory: libtorch's CPU storages, counted where they are allocated

std::atomic<int64_t> liveBytes{0}, peakBytes{0};

// Large blocks are kept when they are freed, for the next tensor of about their size: malloc would give them back to the
// kernel, which must then zero as many pages again at every step. Live and idle blocks together stay near the most that
// was ever live.
struct LargeBlocks {
  static constexpr size_t smallest = 1 << 20, hugePage = 2 << 20;
  std::mutex mutex;
  std::multimap<size_t, void *> idle; // by size
  size_t idleBytes = 0, mostLive = 0;

  void *take(size_t n) {
    std::lock_guard<std::mutex> lock(mutex);
    auto fit = idle.lower_bound(n);
    if (fit != idle.end() && fit->first <= n + n / 4) return pop(fit);
    size_t live = static_cast<size_t>(liveBytes.load()) + n;
    mostLive = std::max(mostLive, live);
    while (!idle.empty() && live + idleBytes > mostLive + mostLive / 4) std::free(pop(std::prev(idle.end())));
    void *p = nullptr;
    bool huge = n >= 2 * hugePage;
    if (posix_memalign(&p, huge ? hugePage : 64, n) != 0) return nullptr;
    if (huge) madvise(p, n / hugePage * hugePage, MADV_HUGEPAGE);
    return p;
  }

  void put(void *p, size_t size) {
    std::lock_guard<std::mutex> lock(mutex);
    idle.emplace(size, p);
    idleBytes += size;
  }

  void *pop(std::multimap<size_t, void *>::iterator it) {
    void *p = it->second;
    idleBytes -= it->first;
    idle.erase(it);
    return p;
  }
};

LargeBlocks &largeBlocks() {
  static auto *blocks = new LargeBlocks; // never destroyed: tensors may be freed at exit
  return *blocks;
}

void release(void *p) {
  size_t size = malloc_usable_size(p);
  liveBytes -= static_cast<int64_t>(size);
  if (size >= LargeBlocks::smallest) largeBlocks().put(p, size);
  else std::free(p);
}

struct CountingAllocator final : c10::Allocator {
  // libtorch made allocate non-const and added copy_data in 2.x: without `override` each version takes the one it knows.
  c10::DataPtr allocate(size_t n) const { return get(n); }
  c10::DataPtr allocate(size_t n) { return get(n); }
  void copy_data(void *dst, const void *src, size_t n) const { std::memcpy(dst, src, n); }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }

  static c10::DataPtr get(size_t n) {
    void *p = nullptr;
    if (n >= LargeBlocks::smallest) p = largeBlocks().take(n);
    else if (n > 0 && posix_memalign(&p, 64, n) != 0) p = nullptr;
    TORCH_CHECK(p != nullptr || n == 0, "out of memory: cannot allocate ", n, " bytes on the CPU");
    if (p != nullptr) {
      int64_t live = liveBytes += static_cast<int64_t>(malloc_usable_size(p));
      int64_t peak = peakBytes.load();
      while (live > peak && !peakBytes.compare_exchange_weak(peak, live)) {
      }
    }
    return {p, p, p != nullptr ? &release : nullptr, c10::Device(c10::DeviceType::CPU)};
  }
};

void setup() {
  static std::once_flag once;
  std::call_once(once, [] {
    static CountingAllocator allocator;
    c10::SetAllocator(c10::DeviceType::CPU, &allocator, 1);
    // A CUDA build of libtorch registers its kernels when this is loaded; linking it would drag CUDA into CPU builds.
    dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL);
  });
}

// ---- operators

struct Arg {
  TypeKind kind;          // of the element, when list
  bool optional = false;  // None is allowed
  bool list = false;
  bool optionalItems = false;
};

struct Op {
  c10::OperatorHandle handle;
  std::vector<Arg> args;
};

Arg describe(c10::TypePtr type) {
  Arg a;
  if (auto o = type->cast<c10::OptionalType>()) {
    a.optional = true;
    type = o->getElementType();
  }
  if (auto l = type->cast<c10::ListType>()) {
    a.list = true;
    type = l->getElementType();
    if (auto o = type->cast<c10::OptionalType>()) {
      a.optionalItems = true;
      type = o->getElementType();
    }
  }
  a.kind = type->kind();
  return a;
}

double asDouble(int64_t bits) {
  double d;
  std::memcpy(&d, &bits, sizeof d);
  return d;
}

template <class T, class F> IValue listOf(int32_t n, F item) {
  c10::List<T> l;
  l.reserve(n);
  for (int32_t j = 0; j < n; j++) l.push_back(item(j));
  return IValue(std::move(l));
}

IValue convert(const c10::Argument &schema, const Arg &want, const at_value &v, const int64_t *pool) {
  const bool number = want.kind == TypeKind::NumberType;
  const bool floats = want.kind == TypeKind::FloatType;
  const bool ints = want.kind == TypeKind::IntType;
  const int64_t *items = pool + v.i;
  switch (v.tag) {
  case AT_NONE:
    if (want.optional) return IValue();
    TORCH_CHECK(false, "argument '", schema.name(), "' must not be nil");
  case AT_DEFAULT:
    TORCH_CHECK(schema.default_value(), "argument '", schema.name(), "' has no default");
    return *schema.default_value();
  case AT_TENSOR:
    if (!want.list && want.kind == TypeKind::TensorType) return IValue(deref(v.i));
    break;
  case AT_INT:
    if (want.list && ints) return listOf<int64_t>(1, [&](int32_t) { return v.i; });
    if (want.list) break;
    if (floats) return IValue(static_cast<double>(v.i));
    if (ints || number) return IValue(v.i);
    break;
  case AT_FLOAT:
    if (!want.list && (floats || number)) return IValue(asDouble(v.i));
    break;
  case AT_BOOL:
    if (!want.list && (want.kind == TypeKind::BoolType || number)) return IValue(v.i != 0);
    break;
  case AT_INTS:
    if (!want.list) break;
    if (ints) return listOf<int64_t>(v.n, [&](int32_t j) { return items[j]; });
    if (number) return listOf<at::Scalar>(v.n, [&](int32_t j) { return at::Scalar(items[j]); });
    break;
  case AT_FLOATS:
    if (!want.list) break;
    if (floats) return listOf<double>(v.n, [&](int32_t j) { return asDouble(items[j]); });
    if (number) return listOf<at::Scalar>(v.n, [&](int32_t j) { return at::Scalar(asDouble(items[j])); });
    break;
  case AT_TENSORS:
    if (!want.list || want.kind != TypeKind::TensorType) break;
    if (want.optionalItems) {
      decltype(std::declval<const IValue &>().toOptionalTensorList()) l;
      for (int32_t j = 0; j < v.n; j++) {
        if (items[j]) l.push_back(deref(items[j]));
        else l.push_back(typename decltype(l)::value_type());
      }
      return IValue(std::move(l));
    }
    return listOf<Tensor>(v.n, [&](int32_t j) -> Tensor {
      TORCH_CHECK(items[j], "argument '", schema.name(), "': item ", j, " must not be nil");
      return deref(items[j]);
    });
  case AT_STRING:
    if (!want.list && want.kind == TypeKind::StringType)
      return IValue(std::string(reinterpret_cast<const char *>(items), v.n));
    break;
  case AT_DEVICE:
    if (!want.list && want.kind == TypeKind::DeviceObjType)
      return IValue(c10::Device(static_cast<c10::DeviceType>(v.i), static_cast<c10::DeviceIndex>(v.n)));
    break;
  }
  TORCH_CHECK(false, "argument '", schema.name(), "' must be ", schema.type()->str());
}

thread_local bool inside = false;            // between at_enter and at_leave
thread_local std::vector<at_tensor> results; // of the last call

void collect(IValue &&v) {
  if (v.isTensor()) results.push_back(handle(std::move(v).toTensor()));
  else if (v.isTensorList())
    for (Tensor &t : v.toTensorVector()) results.push_back(handle(std::move(t)));
  else if (v.isScalar()) results.push_back(handle(c10::scalar_to_tensor(v.toScalar())));
}

c10::Device device(int type, int index) {
  return c10::Device(static_cast<c10::DeviceType>(type), static_cast<c10::DeviceIndex>(index));
}

} // namespace

extern "C" {

at_op at_find(const char *name, const char *overload) {
  setup();
  auto found = c10::Dispatcher::singleton().findSchema({name, overload});
  if (!found) return 0;
  auto *op = new Op{*found, {}};
  for (const auto &a : found->schema().arguments()) op->args.push_back(describe(a.type()));
  return reinterpret_cast<at_op>(op);
}

at_result at_call(at_op o, const at_value *in, int nargs, const int64_t *pool, int nout) {
  at_result r{nullptr, nullptr, 0};
  r.error = guarded([&] {
    TORCH_CHECK(inside, "called outside of Run, or from another goroutine than the one in Run");
    const Op &op = *reinterpret_cast<Op *>(o);
    const auto &schema = op.handle.schema().arguments();
    TORCH_CHECK(nargs <= static_cast<int>(schema.size()), "takes ", schema.size(), " arguments, not ", nargs);
    torch::jit::Stack stack;
    stack.reserve(schema.size());
    for (int k = 0; k < static_cast<int>(schema.size()); k++)
      stack.push_back(convert(schema[k], op.args[k], k < nargs ? in[k] : at_value{AT_DEFAULT, 0, 0}, pool));
    op.handle.callBoxed(&stack);
    if (nout == 0) return; // in place: the result is the argument itself
    results.clear();
    for (auto &v : stack) collect(std::move(v));
    r.out = results.data();
    r.n = static_cast<int64_t>(results.size());
  });
  return r;
}

void at_enter(int threads) {
  setup();
  inside = true;
  // Both are settings of the calling thread; the OpenMP workers that it starts inherit the second from it.
  if (threads > 0) at::set_num_threads(threads);
  at::globalContext().setFlushDenormal(true);
  c10::GradMode::set_enabled(true);
}

void at_leave(void) {
  inside = false;
  at::globalContext().setFlushDenormal(false);
}

int at_set_grad_enabled(int on) {
  bool was = c10::GradMode::is_enabled();
  c10::GradMode::set_enabled(on != 0);
  return was;
}

void at_free(const at_tensor *ts, int64_t n) {
  for (int64_t i = 0; i < n; i++) delete reinterpret_cast<Tensor *>(ts[i]);
}

int at_shape(at_tensor t, int64_t *dims, int cap) {
  auto sizes = deref(t).sizes();
  for (int i = 0; i < cap && i < static_cast<int>(sizes.size()); i++) dims[i] = sizes[i];
  return static_cast<int>(sizes.size());
}

int at_dtype(at_tensor t) { return static_cast<int>(deref(t).scalar_type()); }

int64_t at_device(at_tensor t) {
  auto d = deref(t).device();
  return static_cast<int64_t>(d.type()) << 32 | static_cast<uint32_t>(d.index());
}

int at_requires_grad(at_tensor t) { return deref(t).requires_grad(); }

const char *at_write(at_tensor t, const void *src, int64_t nbytes) {
  return guarded([&] {
    Tensor &x = deref(t);
    TORCH_CHECK(x.is_contiguous() && x.device().is_cpu(), "only a contiguous CPU tensor can be filled from memory");
    TORCH_CHECK(static_cast<int64_t>(x.nbytes()) == nbytes, "needs ", x.nbytes(), " bytes, got ", nbytes);
    if (nbytes > 0) std::memcpy(x.data_ptr(), src, nbytes);
  });
}

const char *at_read(at_tensor t, int dtype, void *dst, int64_t nbytes) {
  return guarded([&] {
    Tensor x = deref(t).detach().to(c10::Device(c10::DeviceType::CPU), static_cast<at::ScalarType>(dtype)).contiguous();
    TORCH_CHECK(static_cast<int64_t>(x.nbytes()) == nbytes, "has ", x.nbytes(), " bytes, not ", nbytes);
    if (nbytes > 0) std::memcpy(dst, x.data_ptr(), nbytes);
  });
}

const char *at_item(at_tensor t, double *out) {
  return guarded([&] {
    TORCH_CHECK(deref(t).numel() == 1, "only a tensor of one element has an item");
    *out = deref(t).item().toDouble();
  });
}

at_tensor at_grad(at_tensor t) { return handle(deref(t).grad()); }

const char *at_set_grad(at_tensor t, at_tensor grad) {
  return guarded([&] {
    Tensor &x = deref(t);
    if (grad) {
      const Tensor &g = deref(grad);
      TORCH_CHECK(g.sizes() == x.sizes() && g.dtype() == x.dtype() && g.device() == x.device(),
                  "a gradient has its tensor's shape, type and device");
    }
    x.mutable_grad() = grad ? deref(grad) : Tensor();
  });
}

const char *at_seed(uint64_t seed) {
  setup();
  return guarded([&] { at::manual_seed(seed); });
}

at_result at_rng_state(int type, int index) {
  at_result r{nullptr, nullptr, 0};
  r.error = guarded([&] {
    results.assign(1, handle(at::globalContext().defaultGenerator(device(type, index)).get_state()));
    r.out = results.data();
    r.n = 1;
  });
  return r;
}

const char *at_set_rng_state(int type, int index, at_tensor state) {
  return guarded([&] {
    auto generator = at::globalContext().defaultGenerator(device(type, index));
    generator.set_state(deref(state));
  });
}

const char *at_version(void) { return TORCH_VERSION; }
int at_threads(void) { return at::get_num_threads(); }

int at_cuda(void) {
  setup();
  return at::hasCUDA();
}

void at_memory(int64_t *live, int64_t *peak) {
  *live = liveBytes;
  *peak = peakBytes;
}

void at_reset_peak(void) { peakBytes = liveBytes.load(); }

void at_blas(int *parallel, const char **core) {
  auto *getParallel = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "openblas_get_parallel"));
  auto *getCore = reinterpret_cast<char *(*)()>(dlsym(RTLD_DEFAULT, "openblas_get_corename"));
  *parallel = getParallel ? getParallel() : -1;
  *core = getCore ? getCore() : "";
}
}
