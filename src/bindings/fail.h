/* Reports, for every primitive, that the world failed: nil, message, code. */
#ifndef RUNNER_FAIL_H
#define RUNNER_FAIL_H

#include <lua.h>

/* [-0, +3, m] Pushes nil, the formatted message and `code`, a stable upper-case name ("EAGAIN"); returns 3. */
int fail(lua_State *L, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* [-0, +3, m] The same for an errno value: message "what: strerror", code its name. */
int fail_errno(lua_State *L, int err, const char *what);

#endif
