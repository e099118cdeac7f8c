describe("a process", function()
  it("lives", function() print("before") end)

  it("is ended by a signal", function()
    print("about to crash")
    os.execute("kill -SEGV $PPID; sleep 1")
  end)

  it("exits without a word", function() os.exit(0) end)

  it("hangs", function()
    print("waiting")
    while true do os.execute("sleep 1") end
  end)

  it("lives on", function() print("after") end)
end)
