"""The pytest side of runner's pytest framework: put into a sandbox as the package runner_worker
and loaded with `-p runner_worker.plugin`. It turns one pytest process into one of these, as the
first control message says:

  zygote  collects once, tells what it found, then forks a slot whenever the agent asks for one.
  slot    (a fork of the zygote, or a process of its own: "fresh") takes tests and runs them.

A slot ends by returning from pytest_runtestloop, so that every session hook runs as it does in an
xdist worker; to plug-ins the zygote is the controller and a slot is the worker.

Channels: fd 3 carries JSON lines both ways (control), fd 4 of the zygote the agent's requests to
fork (one datagram: u32 id, with the slot's stdout, stderr and control). A slot's fds 1 and 2 are
pipes; which test wrote what is told by marks in the very pipes (see output).

To zygote  {"zygote":true}  {"template":true}  {"close":true,"failed":n}
From it    {"tests":[[id,name,file,line,[tags]]…]}  {"problem":{…}}  {"log":[level,text]}
           {"ready":{…}}  {"workerinput":{…},"basetemp":path,"refused":why}
           {"coverage":text,"short":bool}  {"bye":{…}}
To slot    {"slot":{…},"files":[path…]}  {"run":[[token,id,attempt,shown id]…],"next":id}
           {"take":n}  {"stop":token,"grace":s}  {"close":true}
From it    {"hello":{…}}  {"done":token,…result}  {"unmarked":token}  {"returned":[token…]}
           {"settling":id}  {"settled":true}  {"problem":{…}}  {"bye":{…}}
"""
