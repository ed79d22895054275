package ways

import (
	"os"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv/netns"
)

func TestMain(m *testing.M) { os.Exit(netns.Wrap(m).Run()) }
