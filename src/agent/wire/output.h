/* Holds what the agent has to say to its host until the link takes it. */
#ifndef RUNNER_AGENT_OUTPUT_H
#define RUNNER_AGENT_OUTPUT_H

#include "frame.h"

enum {
  OUTPUT_HIGH = 1 << 20, /* with so much unsent output, pipes are left alone */
  OUTPUT_STOP = 8 << 20, /* with so much, the host is not heard either */
  GATHER_BYTES = 16 << 10,
};

extern struct output {
  struct buffer buffer;
  size_t can_wait; /* bytes at its head that the host is not waiting for */
  bool over;       /* the link has ended, or has to: the agent ends with this turn */
  bool failed;     /* it was the host's mistake, which ERROR names */
} output;

bool output_begin(void); /* false: see errno */

/* The host broke the protocol: says how, and ends the link. Only the first reason counts. */
void output_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* DONE: answers a request; with an errno, path names the culprit. */
void output_done(uint32_t id, int error, const char *path, size_t size);
/* Marks what was written since the buffer was `before` bytes long: the host is not waiting for it. */
void output_can_wait(size_t before);

int64_t output_hold_ms(void); /* how much longer all of it may wait for more; 0: it goes now */
void output_flush(void);      /* as much as the link takes now */
void output_drain(int ms);    /* all of it, within that time at most */

#endif
