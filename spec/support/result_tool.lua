--- A tool that runs "tests" and writes JUnit XML, for specs of the command framework: `sh tool.sh OUT NAME…`. A name
--- says what becomes of it; the names of each call are added to the file `ran`, a line a call.

return [[
out=$1; shift
echo "$*" >> ran
echo "tool says: $#"
xml() { printf '%s\n' "$1" | sed 's/&/\&amp;/g; s/</\&lt;/g; s/"/\&quot;/g'; }
{
  echo '<?xml version="1.0"?><testsuites><testsuite name="suite">'
  for name; do
    n=$(xml "$name")
    case $name in
      *flaky*) if [ "$RUNNER_ATTEMPT" = 1 ]; then echo "<testcase name=\"$n\"><failure/></testcase>"
               else echo "<testcase name=\"$n\"/>"; fi ;;
      *pass*) echo "<testcase name=\"$n\" classname=\"k\" time=\"0.25\">"
        echo "<system-out>out of $n</system-out></testcase>" ;;
      *fail*) echo "<testcase name=\"$n\" classname=\"k\"><failure message=\"no: $n\" type=\"T\">trace of $n</failure>"
              echo "</testcase>" ;;
      *skip*) echo "<testcase name=\"$n\"><skipped message=\"why\"/></testcase>" ;;
      *twice*) echo "<testcase name=\"$n\"/><testcase name=\"$n\"><error message=\"in teardown\"/></testcase>" ;;
      *stranger*) echo "<testcase name=\"$n\"/><testcase name=\"nobody\"><failure message=\"lost\">its trace</failure>"
                  echo "</testcase>" ;;
      *hooks*) echo "<testcase name=\"$n\"/><error message=\"after all\">trace of the hook</error>" ;;
      *rerun*) echo "<testcase name=\"$n\"><flakyFailure message=\"m\">first try</flakyFailure></testcase>" ;;
      *status*) echo "<testcase name=\"$n\"/>"; status=3 ;;
      *die*) kill -9 $$ ;;
      *cut*) printf '<testcase name="%s"><failure mess' "$n"; exit 0 ;;
      *hang*) echo $$ > pid; sleep 1000 ;;
      *absent*) ;;
    esac
  done
  echo '</testsuite></testsuites>'
} > "$out"
exit ${status:-0}
]]
