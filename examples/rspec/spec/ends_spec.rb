# frozen_string_literal: true

RSpec.describe "a process" do
  it("lives") { puts "before" }

  it "is ended by a signal" do
    puts "about to crash"
    Process.kill :SEGV, Process.pid
    sleep
  end

  it("exits without a word") { exit!(0) }
  it("aborts") { abort "aborted" }

  it "hangs" do
    puts "waiting"
    sleep
  end

  it("lives on") { puts "after" }
end
