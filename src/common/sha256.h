/* Hashes bytes as they come, with SHA-256 (FIPS 180-4). */
#ifndef RUNNER_COMMON_SHA256_H
#define RUNNER_COMMON_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_SIZE = 32 };

struct sha256 {
  uint32_t state[8];
  uint64_t length; /* bytes so far */
  uint8_t block[64];
};

void sha256_begin(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *bytes, size_t size);
void sha256_end(struct sha256 *hash, uint8_t digest[static SHA256_SIZE]);

#endif
