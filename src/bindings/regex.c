/* runner.core.regex: POSIX extended regular expressions of the C library, for people's filters.
 * A compiled expression is a userdata that owns its regex_t until it is collected. */
#include <lauxlib.h>
#include <regex.h>
#include <stdbool.h>

#include "bindings.h"
#include "fail.h"

#define REGEX "runner.regex"

struct regex {
  regex_t compiled;
  bool open;
};

/* [-0, +0, v] */
static int regex_gc(lua_State *L) {
  struct regex *regex = luaL_checkudata(L, 1, REGEX);
  if (regex->open) regfree(&regex->compiled);
  regex->open = false;
  return 0;
}

/* regex:match(subject) -> boolean: whether the expression matches anywhere. The subject may hold any bytes. */
static int regex_match(lua_State *L) {
  struct regex *regex = luaL_checkudata(L, 1, REGEX);
  size_t size;
  const char *subject = luaL_checklstring(L, 2, &size);
  luaL_argcheck(L, regex->open, 1, "regex is closed");
  regmatch_t whole = {.rm_so = 0, .rm_eo = (regoff_t)size};
  lua_pushboolean(L, regexec(&regex->compiled, subject, 1, &whole, REG_STARTEND) == 0);
  return 1;
}

/* compile(pattern) -> regex | nil, message, code */
static int regex_compile(lua_State *L) {
  const char *pattern = luaL_checkstring(L, 1);
  struct regex *regex = lua_newuserdatauv(L, sizeof *regex, 0);
  regex->open = false;
  luaL_setmetatable(L, REGEX);
  int err = regcomp(&regex->compiled, pattern, REG_EXTENDED);
  if (err != 0) {
    char message[256];
    regerror(err, NULL, message, sizeof message);
    return fail(L, "EINVAL", "%s: %s", pattern, message);
  }
  regex->open = true;
  return 1;
}

static const luaL_Reg methods[] = {{"match", regex_match}, {"__gc", regex_gc}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"compile", regex_compile}, {NULL, NULL}};

int luaopen_runner_core_regex(lua_State *L) {
  define_class(L, REGEX, methods);
  luaL_newlib(L, functions);
  return 1;
}
