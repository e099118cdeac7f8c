/* Waits for file descriptors: one epoll for all of the agent. */
#ifndef RUNNER_AGENT_WATCH_H
#define RUNNER_AGENT_WATCH_H

#include <stdbool.h>
#include <stdint.h>

/* Something that is watched, always edge-triggered: whoever is told must remember what is ready. */
struct source {
  void (*ready)(struct source *source, uint32_t events);
};

bool watch_begin(void);
bool watch_add(int fd, struct source *source, uint32_t events); /* false: see errno */

/* Waits so many ms at most (-1: for good), then calls the sources that are ready until *stop is set. */
void watch_wait(int ms, const bool *stop);

#endif
