# frozen_string_literal: true

RSpec.shared_examples "a container" do
  it("can be filled") { expect(subject.add(1)).to be subject }
  it { is_expected.to respond_to(:total) }
end

RSpec.describe Cart do
  include_examples "a container"

  it "adds prices" do
    expect(Cart.new.add(2).add(3).total).to eq 5
  end

  it "gives a discount" do
    expect(Cart.new.add(10).total).to eq 9
  end

  it "refuses words" do
    expect { Cart.new.add("two") }.to raise_error(ArgumentError)
  end

  it "can be emptied"

  it "sorts its prices", skip: "not today" do
    raise "never reached"
  end

  it "rounds" do
    pending "nobody has decided how"
    expect(Cart.new.add(0.1).add(0.2).total).to eq 0.3
  end

  it "counts" do
    pending "it does by now"
    expect(Cart.new.add(1).total).to eq 1
  end

  it "is right at the second attempt" do
    expect(ENV.fetch("RUNNER_ATTEMPT", "1")).not_to eq "1"
  end

  context "with a shop that is closed" do
    before(:context) { raise "the shop is closed" }

    it("cannot be filled") { Cart.new }
    it("cannot be paid") { Cart.new }
  end
end
