/* The C modules a host preloads; each is documented in its own file and in lua/runner/meta. */
#ifndef RUNNER_HOST_H
#define RUNNER_HOST_H

#include <lua.h>

int luaopen_runner_core_hash(lua_State *L);
int luaopen_runner_core_host(lua_State *L);
int luaopen_runner_core_http(lua_State *L);
int luaopen_runner_core_regex(lua_State *L);
int luaopen_runner_core_ssh(lua_State *L);
int luaopen_runner_core_system(lua_State *L);
int luaopen_runner_core_xml(lua_State *L);

#endif
