package settings

import "github.com/svcblocks/svcblocks/scrape/tor"

// Tor is the way out. Whether anything is fetched while Tor is missing is said
// by scrape.fallback, and the default there is: nothing.
type Tor struct {
	tor.Options

	Start    bool `koanf:"start" doc:"run a Tor process of the service's own"`
	Disabled bool `koanf:"disabled" doc:"fetch from this machine's own address, always"`
}
