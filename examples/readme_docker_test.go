//go:build unix && docker

package examples_test

import (
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
)

// The commands that need an engine, one README after the other: they use the
// same names for images and containers.
func TestDockerReadmes(t *testing.T) {
	testenv.Require(t, "docker")
	for name, bs := range readmes(t) {
		t.Run(name, func(t *testing.T) { runReadme(t, name, bs, true) })
	}
}
