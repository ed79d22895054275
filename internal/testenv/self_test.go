package testenv_test

import (
	"os"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

func TestSelf(t *testing.T) {
	for with, want := range map[string]string{"": os.Args[0] + " -x", "qemu": "qemu " + os.Args[0] + " -x"} {
		t.Setenv("SVCBLOCKS_EMULATOR", with)
		if got := strings.Join(testenv.Self("-x").Args, " "); got != want {
			t.Errorf("under %q: %s, want %s", with, got, want)
		}
	}
}
