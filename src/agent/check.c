/* `agent --check SHA256`: is this program whole? It was carried into the sandbox through pipes and shells, and may have
 * been cut short there, then or since. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "sha256.h"

/* Returns the exit status: 0 when the running program's file has that hash. */
int agent_check(const char *expected) {
  static const char digits[] = "0123456789abcdef";
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
  char hex[2 * SHA256_SIZE + 1];
  sha256_end(&hash, digest);
  for (int i = 0; i < SHA256_SIZE; i++) {
    hex[2 * i] = digits[digest[i] >> 4];
    hex[2 * i + 1] = digits[digest[i] & 15];
  }
  hex[sizeof hex - 1] = 0;
  return got == 0 && strcmp(hex, expected) == 0 ? 0 : 1;
}
