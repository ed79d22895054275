package loopback_test

import (
	"testing"

	"github.com/svcblocks/svcblocks/internal/loopback"
)

func TestIs(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "localhost.": true, "127.0.0.1": true, "127.8.9.1": true, "127.0.0.1.": true,
		"::1": true, "[::1]": true, "::ffff:127.0.0.1": true, "[::ffff:7f00:1]": true, "::1%lo": true,
		"": false, ".": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "128.0.0.1": false, "[::1": false, "::1]": false,
		"a.localhost": false, "localhost.example": false, "127.0.0.1.example": false, "notlocalhost": false,
		"127.1": false, "0x7f.0.0.1": false, "2130706433": false, "127.0.0.01": false, "127.0.0.1:80": false, "localhost:80": false,
		"64:ff9b::7f00:1": false, "١٢٧.0.0.1": false, "localhost\x00": false,
	} {
		if got := loopback.Is(host); got != want {
			t.Errorf("Is(%q) = %v, want %v", host, got, want)
		}
	}
}
