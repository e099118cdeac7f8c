# Tells runner what RSpec does, loaded with `rspec --require`: the examples that there are (RUNNER_RSPEC=list, with
# --dry-run), or how each of them goes (RUNNER_RSPEC=run). Messages go into the stdout of the process; what they say is
# described in lua/runner/worker/reporting_tool.lua, what they look like in lua/runner/worker/channel.lua. Ruby 2.4 and
# later, RSpec 3.

require "json"
require "stringio" # which every formatter of RSpec brings along, and specs count on

module RunnerRSpec
  LISTING = ENV.delete("RUNNER_RSPEC") == "list"
  MARK = ENV.delete("RUNNER_MARK").to_s.delete(" ")
  PIECE = 3500 # bytes; with the mark, less than a pipe takes in one go

  # Ours, whatever becomes of $stdout in a test.
  CHANNEL = STDOUT.dup
  CHANNEL.binmode
  CHANNEL.close_on_exec = true
  class << self
    attr_accessor :last_message
  end

  # What a test prints before it hangs or dies shall be seen.
  STDOUT.sync = STDERR.sync = true

  def self.text(value)
    value = value.to_s.dup
    value.force_encoding(Encoding::UTF_8) if value.encoding == Encoding::ASCII_8BIT
    value.encode(Encoding::UTF_8, invalid: :replace, undef: :replace).scrub
  rescue StandardError => e
    "(#{e.class} while it was turned into text)"
  end

  def self.say(message)
    [$stdout, $stderr, STDOUT, STDERR].each { |io| flush(io) }
    bytes = JSON.generate(message).b
    (0...bytes.bytesize).step(PIECE) do |at|
      kind = at + PIECE < bytes.bytesize ? "+" : "="
      CHANNEL.syswrite("\n#{MARK}#{kind}1 ".b + bytes.byteslice(at, PIECE) + "\n")
    end
  end

  def self.flush(io)
    io.flush
  rescue StandardError # closed by a test, or none
    nil
  end

  def self.path(path)
    text(path).sub(%r{\A\./}, "")
  end

  # An example without a description of its own is named after its place among those of its group: the name that RSpec
  # makes up for it is known only when it has run, and the line changes.
  def self.name(example)
    meta = example.metadata
    return text(example.full_description) unless meta[:description_args].empty?

    unnamed = example.example_group.examples.select { |other| other.metadata[:description_args].empty? }
    group = text(example.example_group.metadata[:full_description])
    "#{group} (example #{unnamed.index { |other| other.equal?(example) } + 1})".strip
  end

  OWN = %i[
    block description_args description full_description described_class file_path line_number location
    absolute_file_path rerun_file_path scoped_id execution_result shared_group_inclusion_backtrace skip pending
    last_run_status
  ].freeze

  def self.tags(example)
    own = example.metadata.reject { |key, value| OWN.include?(key) || !value }
    own.map do |key, value|
      case value
      when true then text(key)
      when Symbol, String, Numeric then "#{text(key)}:#{text(value)}"
      end
    end.compact
  end

  # The only formatter. RSpec instantiates and calls it.
  class Formatter
    RSpec::Core::Formatters.register self, :start, :example_started, :example_passed, :example_failed,
                                     :example_pending, :message, :close

    def initialize(_output); end

    def start(_notification)
      RunnerRSpec.say(hello: RSpec::Core::Version::STRING)
    end

    # Errors outside of examples come with their text as a message before they are told of.
    def message(notification)
      RunnerRSpec.last_message = RunnerRSpec.text(notification.message)
    end

    def example_started(notification)
      example = notification.example
      return RunnerRSpec.say(start: RunnerRSpec.text(example.id)) unless LISTING

      test = { test: RunnerRSpec.text(example.id), name: RunnerRSpec.name(example),
               file: RunnerRSpec.path(example.metadata[:rerun_file_path]), line: example.metadata[:line_number] }
      tags = RunnerRSpec.tags(example)
      test[:tags] = tags unless tags.empty?
      RunnerRSpec.say(test)
    end

    def example_passed(notification)
      finish(notification.example, status: "passed")
    end

    def example_pending(notification)
      result = notification.example.execution_result
      finish(notification.example, status: "skipped", reason: RunnerRSpec.text(result.pending_message),
                                   xfail: !result.example_skipped?)
    end

    def example_failed(notification)
      exception = notification.example.exception
      finish(notification.example, status: "failed", type: RunnerRSpec.text(exception.class.name),
                                   message: RunnerRSpec.text(exception.message).strip, trace: trace(notification))
    end

    # Broken: something went wrong outside of examples, perhaps before we were loaded.
    def close(_notification)
      world = RSpec.world
      broken = world.respond_to?(:non_example_failure) && world.non_example_failure
      RunnerRSpec.say(bye: true, broken: broken ? true : false)
    end

    private

    def finish(example, result)
      return if LISTING

      result[:duration] = example.execution_result.run_time
      RunnerRSpec.say(end: RunnerRSpec.text(example.id), result: result)
    end

    # As RSpec shows it below the description, which it begins with.
    def trace(notification)
      lines = RunnerRSpec.text(notification.fully_formatted(nil)).lines.map(&:chomp)
      lines.shift while lines.first && lines.first.strip.empty?
      lines.shift
      margin = lines.reject { |line| line.strip.empty? }.map { |line| line[/\A */].size }.min.to_i
      lines.map { |line| line[margin..-1] || "" }.join("\n").strip
    end
  end

  # Errors outside of examples: while a file is loaded, in hooks of the suite and after groups.
  module Outside
    def notify_non_example_exception(exception, context)
      super
      what = RunnerRSpec.text(context).strip
      file = what[/while loading (.+?)\.(?:\s|\z)/im, 1] || what[/\AWhile loading (.+?) an `exit`/, 1]
      report = { outside: what, type: RunnerRSpec.text(exception.class.name),
                 message: RunnerRSpec.text(exception.message).strip,
                 trace: (RunnerRSpec.last_message || (exception.backtrace || []).join("\n")).strip }
      report[:file] = RunnerRSpec.path(file) if file
      report[:teardown] = true if what.include?("after(")
      RunnerRSpec.last_message = nil
      RunnerRSpec.say(report)
    end
  end
  RSpec::Core::Reporter.prepend(Outside)

  # The examples of the other files are listed although one cannot be loaded.
  RSpec.world.define_singleton_method(:wants_to_quit=) { |_| } if LISTING
end
