package prom_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/prom"
)

func ExampleWriter() {
	w := prom.NewWriter(os.Stdout)
	w.Counter("mails_total", "Mails that were sent.", 3)
	w.Gauges("queue_messages", "Messages that wait.", []prom.Sample{
		{Labels: []string{"receiver", "mail"}, Value: 2}, {Labels: []string{"receiver", "slack"}, Value: 0.5},
	})
	// Output:
	// # HELP mails_total Mails that were sent.
	// # TYPE mails_total counter
	// mails_total 3
	// # HELP queue_messages Messages that wait.
	// # TYPE queue_messages gauge
	// queue_messages{receiver="mail"} 2
	// queue_messages{receiver="slack"} 0.5
}

func ExampleSample() {
	fmt.Println(prom.Sample{Labels: []string{"code", "200"}, Value: 1})
	// Output: {[code 200] 1}
}

func TestEscaping(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	w := prom.NewWriter(&b)
	w.Gauges("x", "one\ntwo \\ \"three\"", []prom.Sample{{Labels: []string{"a", "\"q\"\n\\", "b", "ü"}, Value: 1e9}})
	w.Gauges("nothing", "", nil)
	want := "# HELP x one\\ntwo \\\\ \"three\"\n# TYPE x gauge\nx{a=\"\\\"q\\\"\\n\\\\\",b=\"ü\"} 1e+09\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	if prom.Flag(true) != 1 || prom.Flag(false) != 0 {
		t.Error("a flag is 1 or 0")
	}
}
