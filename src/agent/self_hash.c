/* Hashes the agent's own program for `agent --hash`: it was carried into the sandbox through pipes and shells, and may
 * have been cut short there, then or since. */
#include "self_hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/sha256.h"

int self_hash(void) {
  static uint8_t bytes[64 << 10];
  int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 70;
  struct sha256 hash;
  sha256_begin(&hash);
  ssize_t got;
  do {
    got = read(fd, bytes, sizeof bytes);
    if (got > 0) sha256_add(&hash, bytes, (size_t)got);
  } while (got > 0 || (got < 0 && errno == EINTR));
  close(fd);
  uint8_t digest[SHA256_SIZE];
  sha256_end(&hash, digest);
  if (got < 0) return 70;
  for (int i = 0; i < SHA256_SIZE; i++) printf("%02x", digest[i]);
  return puts("") < 0 || fflush(stdout) != 0 ? 70 : 0;
}
