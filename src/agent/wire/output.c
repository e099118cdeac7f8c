/* Writes frames to stdout, several at a time where the host does not wait for them. */
#include "output.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/watch.h"

enum { HOLD_MS = 5 };

struct output output;

static struct source source;
static bool writable = true;

static void ready(struct source *self, uint32_t events) {
  (void)self;
  if (events & (EPOLLERR | EPOLLHUP)) output.over = true;
  if (events & EPOLLOUT) writable = true;
}

bool output_begin(void) {
  source.ready = ready;
  return watch_add(STDOUT_FILENO, &source, EPOLLOUT);
}

void output_fail(const char *format, ...) {
  char message[512];
  va_list arguments;
  if (output.over) return;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  size_t frame = frame_begin(&output.buffer, AGENT_ERROR, 0);
  put_str(&output.buffer, message, strlen(message));
  frame_end(&output.buffer, frame);
  output.over = output.failed = true;
}

void output_done(uint32_t id, int error, const char *path, size_t size) {
  size_t frame = frame_begin(&output.buffer, AGENT_DONE, id);
  put_u32(&output.buffer, (uint32_t)error);
  if (error) {
    char message[4096 + 128];
    int length = snprintf(message, sizeof message, "%.*s: %s", (int)(size > 4096 ? 4096 : size),
                          path, strerror(error));
    put_str(&output.buffer, message, (size_t)length);
  } else {
    put_str(&output.buffer, path, size);
  }
  frame_end(&output.buffer, frame);
}

void output_can_wait(size_t before) {
  if (before == output.can_wait) output.can_wait = buffer_length(&output.buffer);
}

int64_t output_hold_ms(void) {
  static int64_t since;
  size_t size = buffer_length(&output.buffer);
  bool can_wait = size > 0 && size == output.can_wait && size < GATHER_BYTES;
  if (can_wait && since == 0) since = now_ms;
  int64_t left = can_wait ? since + HOLD_MS - now_ms : 0;
  if (left > 0) return left;
  since = 0;
  return 0;
}

void output_flush(void) {
  output.can_wait = 0;
  while (writable && buffer_length(&output.buffer) > 0) {
    size_t size = buffer_length(&output.buffer);
    ssize_t put = write(STDOUT_FILENO, output.buffer.data + output.buffer.head, size);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno != EAGAIN) {
      output.over = true; /* nobody reads any more */
      return;
    }
    if (put > 0) buffer_drop(&output.buffer, (size_t)put);
    writable = put >= 0 && (size_t)put == size;
  }
}

void output_drain(int ms) {
  int64_t until = monotonic_us() / 1000 + ms;
  for (;;) {
    writable = true;
    output_flush();
    int64_t left = until - monotonic_us() / 1000;
    if (writable || left <= 0) return;
    struct pollfd wait = {.fd = STDOUT_FILENO, .events = POLLOUT};
    if (poll(&wait, 1, (int)left) <= 0 || wait.revents & (POLLERR | POLLHUP)) return;
  }
}
