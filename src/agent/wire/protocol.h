/*
 * Describes the wire protocol between the runner (the host) and its agent, in this place alone.
 *
 * Two byte streams, one each way, carry frames. All integers are little-endian.
 *
 *   frame = u32 length of what follows (5 … FRAME_PAYLOAD_MAX + 5), u8 type, u32 id, payload
 *   str   = u32 length, bytes
 *
 * The first frame each way is HELLO; the agent sends its own without waiting for the host's.
 * Anything malformed is answered with ERROR, then the agent kills all it has started and ends.
 * So does the end of its input, or an output that can no longer be written.
 *
 * A command is named by an id that the host chooses (not 0, never used twice); a request (PUT,
 * MKDTEMP, PING, SYNC, LIST, GET) by an id that comes back in its answer. Frames about a command that has already
 * ended are ignored, because they may cross its EXIT on the way.
 *
 * Host → agent
 *
 *   HELLO    id 0: u32 version, str run id
 *   SPAWN    u32 flags (SPAWN_…), u32 lane, u32 deadline in ms (0: none), u32 grace in ms,
 *            u64 memory in bytes (RLIMIT_AS; 0: no limit), u32 via, str tag, str cwd ("": the
 *            agent's), u32 n, n × str argv, u32 n, n × str environment ("K=V" sets, "K" unsets, on
 *            top of the agent's own). Commands of one lane other than 0 run one after the other in
 *            order of arrival, so that a host can queue many in one go; lane 0 starts at once.
 *            The child's environment holds RUNNER_COMMAND=tag (made from run id and id if "");
 *            by it the agent knows the daemons of a command again, so it should be unique.
 *            At the deadline the command is killed as by KILL with its grace.
 *   INPUT    u8 stream (STREAM_STDIN or STREAM_CONTROL), bytes. No bytes at all: end of that stream.
 *            At most WINDOW bytes per stream may be on their way, see INPUT_CREDIT.
 *   SIGNAL   u8 signal number, to the command's first process only
 *   KILL     u32 grace in ms: TERM to every process of the command, those that made sessions of
 *            their own too; KILL to what is left after the grace. A second KILL can shorten it.
 *            A command that has not started is dropped from its lane. A grace of KILL_NEVER does
 *            that alone: a command that runs already goes on.
 *   CREDIT   u32 bytes: so many more OUT bytes may be sent for the command. It starts with WINDOW,
 *            over all its streams. At 0 the agent stops reading the command's pipes.
 *   PUT      u32 mode, str path, bytes to the end: write a file in one step, making its folders
 *   MKDTEMP  str prefix: make a folder (mode 0700) in $TMPDIR or /tmp; the agent removes it at its end
 *   PING     nothing
 *   SYNC     str key, str folder, str digest: bring a folder into the state that a manifest
 *            describes; digest is the SHA-256 of that manifest. Folder "": one of ours for this key
 *            (1 … SYNC_KEY_MAX of a-z, 0-9 and -) that no other agent uses; it stays for later runs.
 *            NEED and TAKEN, then DONE with the folder's path.
 *   ENTRIES  bytes of the manifest, cut anywhere; none: its end. Sorted by path, every parent before
 *            its children: u8 kind (ENTRY_…), u32 mode, u64 size, str SHA-256 (of a file, else ""),
 *            str path, str target (of a link, else "")
 *   CHUNK    u32 index, bytes to the end: the next bytes of the file that is entry index, from 0,
 *            in the order of NEED. At most SYNC_WINDOW bytes may be on their way, see TAKEN.
 *   LIST     str folder, u64 µs, u64 µs, u32 n, n × str pattern: find the plain files below the
 *            folder that match and were last changed no longer ago than the first (0: ever), and
 *            longer ago than the second. FOUND, then DONE; its path is "more" when there are more
 *            than FOUND_MAX.
 *   GET      str folder, str path, u64 most: send that file. DATA within CREDIT, then DONE. EFBIG
 *            when it is larger than that.
 *   STOP     nothing: end that SYNC, LIST or GET; DONE says ECANCELED
 *
 * Agent → host
 *
 *   HELLO    id 0: u32 version, str machine, u32 cpus, u64 memory in bytes, str host name, str cwd
 *   STARTED  u32 pid, u64 µs since 1970
 *   OUT      u8 stream (STREAM_STDOUT, _STDERR, _CONTROL), 1 … OUT_MAX bytes
 *   INPUT_CREDIT  u8 stream, u32 bytes of INPUT that have reached the child (or found nobody left)
 *   EXIT     u8 kind (EXIT_…), u32 exit code, signal or errno, u8 flags (EXIT_TIMED_OUT, _KILLED),
 *            u64 wall, user and system time in µs, u64 peak memory in bytes, str message ("", or why
 *            it could not start, naming the culprit: "chdir …" or "execve …", or that the kernel ran out of
 *            memory meanwhile), u32 n, n × leak.
 *            leak = u32 pid, str command line, str its RUNNER_TEST_ID ("" if none): a process that
 *            still ran LINGER_MS after the first process had ended. Leaks are killed.
 *            The last frame of a command: every OUT comes before it.
 *   DONE     u32 errno (0: done), str path, or what went wrong
 *   PONG     nothing
 *   NEED     u8 what: NEED_LISTING: send ENTRIES; NEED_FILES, n × u32 index to the end: send their
 *            contents; NEED_END: that was all
 *   TAKEN    u32 bytes of CHUNK that have been written
 *   FOUND    files to the end: u64 size, u64 ns of the last change, u64 inode, str path
 *   DATA     1 … OUT_MAX bytes of a file
 *   ERROR    id 0: str message; the agent ends after it
 *
 * The fork server: a command started with SPAWN_FORKSERVER has a SOCK_SEQPACKET socket as fd 4.
 * For a SPAWN whose `via` names it, the agent sends a datagram {u32 id} with SCM_RIGHTS
 * {stdout, stderr, control}. The server forks twice, waits for the process in between, and answers
 * {u32 id, u32 pid of the grandchild}; pid 0 says no. By then the grandchild belongs to the agent,
 * which treats it as the command's first process. The grandchild calls setsid and puts /dev/null and
 * the three descriptors on 0 … 3. Its environment is the server's; for its daemons to be known as its
 * own, it has to set RUNNER_COMMAND for what it executes. argv, env and cwd mean nothing here; memory
 * is limited from outside.
 */
#ifndef RUNNER_AGENT_PROTOCOL_H
#define RUNNER_AGENT_PROTOCOL_H

enum { PROTOCOL_VERSION = 1 };

enum frame_type {
  /* host → agent */
  HOST_HELLO = 1,
  HOST_SPAWN = 2,
  HOST_INPUT = 3,
  HOST_SIGNAL = 4,
  HOST_KILL = 5,
  HOST_CREDIT = 6,
  HOST_PUT = 7,
  HOST_MKDTEMP = 8,
  HOST_PING = 9,
  HOST_SYNC = 10,
  HOST_ENTRIES = 11,
  HOST_CHUNK = 12,
  HOST_LIST = 13,
  HOST_GET = 14,
  HOST_STOP = 15,
  /* agent → host */
  AGENT_HELLO = 65,
  AGENT_STARTED = 66,
  AGENT_OUT = 67,
  AGENT_INPUT_CREDIT = 68,
  AGENT_EXIT = 69,
  AGENT_DONE = 70,
  AGENT_PONG = 71,
  AGENT_ERROR = 72,
  AGENT_NEED = 73,
  AGENT_TAKEN = 74,
  AGENT_FOUND = 75,
  AGENT_DATA = 76,
};

enum {
  SPAWN_CONTROL = 1,    /* fd 3 of the child is a socket: INPUT and OUT on STREAM_CONTROL */
  SPAWN_FORKSERVER = 2, /* fd 4 of the child is the fork server's socket */
  SPAWN_STDIN = 4,      /* stdin is a pipe fed by INPUT instead of /dev/null */
  SPAWN_MERGE = 8,      /* stderr goes where stdout goes */
  SPAWN_CLEAR_ENV = 16, /* start from an empty environment */
  SPAWN_FLAGS = 31,
};

enum { STREAM_STDIN, STREAM_STDOUT, STREAM_STDERR, STREAM_CONTROL, STREAMS };

enum { ENTRY_FILE = 1, ENTRY_LINK, ENTRY_FOLDER };
enum { NEED_LISTING, NEED_FILES, NEED_END };

enum { EXIT_EXITED, EXIT_SIGNALLED, EXIT_NOT_STARTED, EXIT_DROPPED };
enum { EXIT_TIMED_OUT = 1, EXIT_KILLED = 2 };

enum {
  FRAME_HEADER = 9, /* length, type, id */
  FRAME_PAYLOAD_MAX = 1 << 20,
  OUT_MAX = 64 << 10,
  WINDOW = 256 << 10,
  ARGV_MAX = 4096,
  ENV_MAX = 4096,
  SYNC_WINDOW = 512 << 10,
  SYNC_KEY_MAX = 80,
  GLOBS_MAX = 256,
  FOUND_MAX = 10000,
  LEAKS_MAX = 64, /* more are killed, but not listed */
  LINGER_MS = 200,
};

#define KILL_NEVER UINT32_MAX

#endif
