package safehttp

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/svcblocks/svcblocks/internal/loopback"
)

// Hosts are the names that a server answers to. A page that was talked into
// asking this machine, by a name of its own that leads here, has a name that
// nobody listed.
type Hosts struct {
	setting string
	names   map[string]bool
}

// NewHosts returns the list of hosts, each "name", "name:port" or an address
// such as https://name/path; ports do not matter, and empty ones name nobody.
// IP literals and names of this machine are always in it. setting is what
// refusals name: "server.hosts". The error lists what is no host.
func NewHosts(setting string, hosts ...string) (*Hosts, error) {
	h := &Hosts{setting: setting, names: map[string]bool{}}
	var bad []string
	for _, host := range hosts {
		name := host
		if strings.Contains(host, "://") {
			u, err := url.Parse(host)
			if err != nil || u.Hostname() == "" {
				bad = append(bad, fmt.Sprintf("%q", host))
				continue
			}
			name = u.Host
		}

		name = parseHost(name).name
		switch {
		case strings.ContainsAny(name, "/*@ \\?#%") && !isAddress(name):
			bad = append(bad, fmt.Sprintf("%q", host))
		case name != "":
			h.names[name] = true
		}
	}
	if bad != nil {
		return nil, fmt.Errorf("%s: %s is no host: write a name, as service.example or service:8080", setting, strings.Join(bad, ", "))
	}
	return h, nil
}

// ThisMachine is a Hosts without names: it answers to addresses and to this
// machine's own names alone.
func ThisMachine() *Hosts { return &Hosts{} }

// Allow reports whether the server answers to host, which may have a port. A
// request without a host comes from no browser.
func (h *Hosts) Allow(host string) bool {
	name := parseHost(host).name
	switch {
	case host == "", isAddress(name), loopback.Is(name), strings.HasSuffix(name, ".localhost"):
		return true // rebinding needs a name, and browsers keep those below localhost
	}
	return h.names[name]
}

// Handler answers 421 in place of next where the host is not allowed.
func (h *Hosts) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.Allow(r.Host) {
			next.ServeHTTP(w, r)
			return
		}
		help := "ask for it by an address, or as localhost"
		if h.setting != "" {
			help = "if it should, list it in " + h.setting
		}
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, fmt.Sprintf("this server does not answer to the host %.100q: %s", r.Host, help), http.StatusMisdirectedRequest)
	})
}

// hostport is a host in lower case, without brackets and a final dot.
type hostport struct{ name, port string }

func parseHost(s string) hostport {
	name, port, err := net.SplitHostPort(s)
	if err != nil {
		name, port = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), ""
	}
	return hostport{name: strings.ToLower(trimDot(name)), port: port}
}

func isAddress(name string) bool {
	_, ok := loopback.Address(name)
	return ok
}

func trimDot(name string) string { return strings.TrimSuffix(name, ".") }
