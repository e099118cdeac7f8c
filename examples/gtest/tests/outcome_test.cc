// Every way in which a test can end.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include <unistd.h>

TEST(Outcome, Passes) { EXPECT_EQ(4, 2 + 2); }

TEST(Outcome, Fails) {
  printf("before the failure");  // no end of line
  EXPECT_EQ(5, 2 + 2) << "arithmetic still holds";
  EXPECT_TRUE(false);
}

TEST(Outcome, Throws) { throw std::runtime_error("thrown in the test"); }

TEST(Outcome, IsSkipped) { GTEST_SKIP() << "needs a network"; }

TEST(Outcome, DISABLED_IsDisabled) { FAIL(); }

// The runner tells each attempt its number.
TEST(Outcome, IsFlaky) {
  const char* attempt = getenv("RUNNER_ATTEMPT");
  ASSERT_TRUE(attempt != nullptr && std::string(attempt) == "2") << "passes on the second attempt";
}

TEST(Outcome, Crashes) {
  printf("last words");
  fflush(stdout);
  raise(SIGSEGV);
}

TEST(Outcome, Aborts) { abort(); }

TEST(Outcome, EndsTheProgram) { exit(3); }

TEST(Outcome, EndsTheProgramWell) { exit(0); }

TEST(Outcome, Hangs) {
  for (;;) pause();
}

TEST(OutcomeDeathTest, Dies) {
  EXPECT_DEATH(
      {
        fprintf(stderr, "dying as expected\n");
        abort();
      },
      "dying as expected");
}

TEST(OutcomeDeathTest, DoesNotDie) { EXPECT_DEATH({ fprintf(stderr, "alive"); }, ""); }

class Shared : public testing::Test {
 protected:
  static void SetUpTestSuite() { printf("made once\n"); }
  static void TearDownTestSuite() { printf("removed once\n"); }
};

TEST_F(Shared, First) { fprintf(stderr, "of the first\n"); }
TEST_F(Shared, Second) { fprintf(stderr, "of the second\n"); }
