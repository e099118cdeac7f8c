/* Opens the channels of runner.core.ssh. */
#ifndef RUNNER_SSH_CHANNEL_H
#define RUNNER_SSH_CHANNEL_H

#include <lua.h>

void ssh_channel_define(lua_State *L); /* [-0, +0, m] their class */
int ssh_channel_open(lua_State *L);    /* session:channel() */

#endif
