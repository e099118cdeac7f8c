// Names and output that are easy to get wrong.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

template <class T>
class Typed : public testing::Test {};
using Types = testing::Types<int, std::vector<std::string>>;
TYPED_TEST_SUITE(Typed, Types);
TYPED_TEST(Typed, IsEmpty) { EXPECT_EQ(TypeParam(), TypeParam()); }

class Word : public testing::TestWithParam<std::string> {};
TEST_P(Word, IsShort) { EXPECT_LT(GetParam().size(), 10u); }
INSTANTIATE_TEST_SUITE_P(Plain, Word, testing::Values("a", "two words", "naïve", "line\nbreak", "much too long a word"));
INSTANTIATE_TEST_SUITE_P(Named, Word, testing::Values("x", "y"),
                         [](const testing::TestParamInfo<std::string>& info) { return "Is_" + info.param; });

// Two names of which each is the beginning of another.
TEST(Prefix, Is) { SUCCEED(); }
TEST(Prefix, IsNot) { FAIL(); }

TEST(Output, OddBytes) {
  const char bytes[] = "caf\xe9 \0 \xff\xfe \x1b[31mred";
  fwrite(bytes, 1, sizeof bytes, stdout);
}

// What a test prints does not decide how it ends.
TEST(Output, LooksLikeAResult) {
  printf("[       OK ] Prefix.Is (0 ms)\n[  FAILED  ] Output.Nothing (0 ms)\n[ RUN      ] Prefix.Is\n");
  printf("[  PASSED  ] 1 test.\n[");
  FAIL() << "in spite of what it prints";
}

TEST(Output, Much) {
  for (int i = 0; i < 20000; i++) printf("line %d of many [ with brackets ]\n", i);
}

class Dynamic : public testing::Test {
 public:
  void TestBody() override {}
};

// Tests that a program registers may have any name.
int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (const char* name : {"--gtest_list_tests", "-two words", "a [b] (c)", "it's \"quoted\" $HOME `id`", "ünïcödé",
                           "colon:star*mark?", "two\nlines"}) {
    testing::RegisterTest("Dynamic", name, nullptr, nullptr, __FILE__, __LINE__, []() -> testing::Test* {
      return new Dynamic;
    });
  }
  return RUN_ALL_TESTS();
}
