package browser

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// Axe returns the serious and critical findings of axe-core on the page as it
// stands, with the elements that they concern. Where there is no axe-core it
// skips t.
func (tab *Tab) Axe(t testing.TB) []string {
	t.Helper()
	script, err := os.ReadFile(testenv.Require(t, "axe-core").Path)
	if err != nil {
		t.Fatal(err)
	}

	// Through the debugger, as the page's own policy forbids foreign scripts.
	Eval[bool](tab, string(script)+";true")
	raw := Eval[string](tab, `axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations))`)

	var violations []struct {
		ID, Impact, Help string
		Nodes            []struct {
			HTML           string
			FailureSummary string
		}
	}

	if err := json.Unmarshal([]byte(raw), &violations); err != nil {
		t.Fatalf("browser: axe-core: %v", err)
	}

	findings := []string{}
	for _, v := range violations {
		if v.Impact != "serious" && v.Impact != "critical" {
			t.Logf("axe-core: %s: %s: %s on %d elements", v.Impact, v.ID, v.Help, len(v.Nodes))
			continue
		}
		for _, n := range v.Nodes {
			findings = append(findings, fmt.Sprintf("%s: %s: %s\n%s", v.Impact, v.ID, n.HTML, n.FailureSummary))
		}
	}

	return findings
}
