// The C ABI between package tensor and libtorch. It knows no operator by name: see at_find and at_call.
#pragma once
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef uintptr_t at_tensor; // an owned at::Tensor*, 0 for none
typedef uintptr_t at_op;     // an operator found by at_find, lives as long as the process

enum {
  AT_NONE, AT_DEFAULT, AT_TENSOR, AT_INT, AT_FLOAT, AT_BOOL,
  AT_INTS, AT_FLOATS, AT_TENSORS, AT_STRING, AT_DEVICE
};

// One argument. A list's n items start at pool[i], a string's n bytes at the address of pool[i]: one flat array of
// words, so that Go passes no pointer to a pointer. A float is its bits in i; a device is its type in i, index in n.
typedef struct {
  int32_t tag;
  int32_t n;
  int64_t i;
} at_value;

// error is NULL, or a message that lives until the thread's next call. out has n owned handles, valid as long.
typedef struct {
  const char *error;
  const at_tensor *out;
  int64_t n;
} at_result;

at_op at_find(const char *name, const char *overload);
at_result at_call(at_op op, const at_value *args, int nargs, const int64_t *pool, int nout);

// The thread that runs tensor code: at_enter before, at_leave after. threads 0 leaves libtorch's own number.
void at_enter(int threads);
void at_leave(void);
int at_set_grad_enabled(int on); // returns what it was

void at_free(const at_tensor *ts, int64_t n);
int at_shape(at_tensor t, int64_t *dims, int cap); // the number of dimensions, of which cap at most are written
int at_dtype(at_tensor t);
int64_t at_device(at_tensor t); // type << 32 | index as uint32
int at_requires_grad(at_tensor t);
const char *at_write(at_tensor t, const void *src, int64_t nbytes);          // t must be dense
const char *at_read(at_tensor t, int dtype, void *dst, int64_t nbytes);      // as dtype, row-major
const char *at_item(at_tensor t, double *out);
at_tensor at_grad(at_tensor t);
const char *at_set_grad(at_tensor t, at_tensor grad); // grad 0: none

const char *at_seed(uint64_t seed);
at_result at_rng_state(int device_type, int device_index);
const char *at_set_rng_state(int device_type, int device_index, at_tensor state);

const char *at_version(void);
int at_threads(void);
int at_cuda(void);
void at_memory(int64_t *live, int64_t *peak); // bytes of CPU storage
void at_reset_peak(void);
void at_blas(int *parallel, const char **core); // OpenBLAS: 0 serial, 1 pthreads, 2 OpenMP; -1 when it is not OpenBLAS

#ifdef __cplusplus
}
#endif
