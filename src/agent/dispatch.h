/* Takes the frames of the host. */
#ifndef RUNNER_AGENT_DISPATCH_H
#define RUNNER_AGENT_DISPATCH_H

#include "agent/wire/frame.h"

void dispatch(const struct frame *frame);

#endif
