/* Counts the processes that the kernel has killed for want of memory. */
#ifndef RUNNER_AGENT_OOM_H
#define RUNNER_AGENT_OOM_H

#include <stdint.h>

void oom_begin(void);
int64_t oom_kills(void); /* so far, around us; 0 where that is not known */

#endif
