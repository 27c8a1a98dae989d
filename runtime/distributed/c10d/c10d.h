// The C ABI between package distributed and c10d, libtorch's collectives.
#pragma once
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef uintptr_t dist_store; // a c10d::TCPStore, lives as long as the process
typedef uintptr_t dist_group; // ranks that call collectives in the same order, lives as long as the process

// Errors are NULL, or a message that the caller frees. A tensor is the address of an at::Tensor.
char *dist_store_open(const char *host, int port, int server, int64_t timeout_ms, dist_store *out);
int dist_store_port(dist_store s);
char *dist_store_set(dist_store s, const char *key, const void *value, int64_t n);
char *dist_store_get(dist_store s, const char *key, void **value, int64_t *n); // waits for it; the caller frees value
char *dist_store_add(dist_store s, const char *key, int64_t delta, int64_t *sum);

// name is the group's in the store; address is the one that the CPU group listens on. cuda -1 is a group for tensors of the CPU alone.
char *dist_group_new(dist_store s, const char *name, int rank, int world, const char *address, int cuda, int64_t timeout_ms, dist_group *out);
char *dist_all_reduce(dist_group g, uintptr_t t);                      // in place, the sum
char *dist_broadcast(dist_group g, uintptr_t t, int root);             // in place
char *dist_all_gather(dist_group g, uintptr_t out, uintptr_t in);      // out is world times in
char *dist_reduce_scatter(dist_group g, uintptr_t out, uintptr_t in);  // in is world times out
char *dist_all_gather_bytes(dist_group g, void *out, const void *in, int64_t n); // out has world * n

#ifdef __cplusplus
}
#endif
