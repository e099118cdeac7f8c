# frozen_string_literal: true

RSpec.describe "-names" do
  it("--help") {}
  it("ünïcödé 名前 🛒") {}
  it("holds [brackets] [1:2] and {braces}") {}
  it("holds 'single' and \"double\" quotes, $HOME, `id` and \\") {}
  it("has a\nline end and a\ttab") {}
  it("has a twin") {}
  it("has a twin") { raise "the second is another" }
  it {}
  it {}
end

RSpec.describe "output" do
  it "in Latin-1, with a NUL" do
    $stdout.write "caf\xE9 \0 end\n".b
    warn "on stderr"
  end

  it "of a program" do
    system "echo from a program"
  end

  it "with a closed $stdout" do
    before = $stdout
    $stdout = StringIO.new
    puts "caught"
    expect($stdout.string).to eq "caught\n"
  ensure
    $stdout = before
  end
end
