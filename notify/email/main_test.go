package email_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv/netns"
)

// A namespace lets postfix run for whoever is not root.
func TestMain(m *testing.M) { goleak.VerifyTestMain(netns.Wrap(m)) }
