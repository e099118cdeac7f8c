/* Waits with epoll, and hands each event to its source. */
#include "watch.h"

#include <sys/epoll.h>

#include "clock.h"

static int epoll = -1;

bool watch_begin(void) {
  epoll = epoll_create1(EPOLL_CLOEXEC);
  return epoll >= 0;
}

bool watch_add(int fd, struct source *source, uint32_t events) {
  struct epoll_event event = {.events = events | EPOLLET, .data.ptr = source};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

void watch_wait(int ms, const bool *stop) {
  struct epoll_event events[64];
  int count = epoll_wait(epoll, events, 64, ms);
  clock_turn();
  for (int i = 0; i < count && !*stop; i++) {
    struct source *source = events[i].data.ptr;
    source->ready(source, events[i].events);
  }
}
