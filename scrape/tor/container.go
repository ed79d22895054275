package tor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/named"
	"github.com/svcblocks/svcblocks/scrape/internal/socks"
)

// ErrContainer reports that the container does not exist, does not run, or
// that its name is none.
var ErrContainer = errors.New("tor: container")

// isContainerName reports whether the Engine takes s for a name or an id:
// [a-zA-Z0-9][a-zA-Z0-9_.-]*, which is not worth a dependence on regexp.
func isContainerName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return s != "" && len(s) <= 255 && strings.IndexByte(letters, s[0]) >= 0 && strings.Trim(s, letters+"_.-") == ""
}

// maxInspect bounds the Engine's answer.
const maxInspect = 4 << 20

// newContainer returns the Tor of a container that is looked for when it is
// needed, and again when it is lost: a container that starts anew may have
// another address.
func newContainer(name string, o Options) *Tor {
	return newTor(o, "Tor in container "+name, func(ctx context.Context) (*place, error) {
		at := o
		hosts, err := findContainer(ctx, name, o)
		if err != nil {
			return nil, named.Wrap("tor", "", err)
		}
		if at.SOCKS, err = hosts.probe(ctx, o, port(o.SOCKS)); err != nil {
			return nil, named.Wrap("tor", "", fmt.Errorf("container %s: %w: %w", name, scrape.ErrEgressUnavailable, err))
		}

		if o.Control != "" {
			// Where the SOCKS port answers, the control port is too, or it is not
			// published at all: which the check will say.
			at.Control = hosts.beside(at.SOCKS, port(o.Control))
		}
		return at.place(), nil
	})
}

// port is the port of a valid host:port, or 9050.
func port(addr string) string {
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "9050"
	}
	return p
}

// places are the addresses by which a container may be reached.
type places struct {
	hosts     []string            // with the container's own ports
	published map[string][]string // by the container's port
}

// inspection is what is used of the Engine's answer.
type inspection struct {
	State struct {
		Running bool
		Status  string
	}
	HostConfig      struct{ NetworkMode string }
	NetworkSettings struct {
		Networks map[string]struct{ IPAddress, GlobalIPv6Address string }
		Ports    map[string][]struct {
			HostIP   string `json:"HostIp"`
			HostPort string
		}
	}
}

// findContainer asks the Engine.
func findContainer(ctx context.Context, name string, o Options) (*places, error) {
	failed := func(err error) (*places, error) {
		return nil, fmt.Errorf("%w: %w %s: %w", scrape.ErrEgressUnavailable, ErrContainer, name, err)
	}

	docker, err := newEngine(o.DockerHost)
	if err != nil {
		return failed(err)
	}

	status, body, err := docker.get(ctx, o.Timeout, "/containers/"+url.PathEscape(name)+"/json")
	if docker.network == "unix" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
		return &places{hosts: []string{name, "127.0.0.1"}}, nil
	}

	switch {
	case err != nil:
		return failed(fmt.Errorf("the Docker Engine at %s: %w", docker, err))
	case status == http.StatusNotFound:
		return failed(errors.New("there is none of that name (docker ps -a lists them)"))
	case status != http.StatusOK:
		return failed(fmt.Errorf("the Docker Engine at %s answered %d %s%s", docker, status, http.StatusText(status), engineSays(body)))
	}

	var found inspection
	if err := json.Unmarshal(body, &found); err != nil {
		return failed(fmt.Errorf("the Docker Engine at %s: %w", docker, err))
	}
	if !found.State.Running {
		return failed(fmt.Errorf("it is not running (%s): docker start %s", found.State.Status, name))
	}
	return found.places(docker.host), nil
}

// engineSays returns the message of an answer of the Engine, for an error.
func engineSays(body []byte) string {
	var answer struct{ Message string }
	if err := json.Unmarshal(body, &answer); err != nil || answer.Message == "" {
		return ""
	}
	return fmt.Sprintf(": %.200q", answer.Message)
}

// places returns the addresses of a container. Of one on another machine, host,
// only the ports that it publishes there can be reached.
func (i *inspection) places(host string) *places {
	p := &places{published: map[string][]string{}}
	for port, bindings := range i.NetworkSettings.Ports {
		number, ok := strings.CutSuffix(port, "/tcp")
		if !ok {
			continue
		}
		for _, b := range bindings {
			if at := publishedAt(b.HostIP, host); at != "" {
				p.published[number] = append(p.published[number], net.JoinHostPort(at, b.HostPort))
			}
		}
	}
	if host != "" {
		return p
	}

	for _, network := range i.NetworkSettings.Networks {
		for _, ip := range []string{network.IPAddress, network.GlobalIPv6Address} {
			if _, err := netip.ParseAddr(ip); err == nil {
				p.hosts = append(p.hosts, ip)
			}
		}
	}
	slices.Sort(p.hosts) // of a map
	if i.HostConfig.NetworkMode == "host" {
		p.hosts = append(p.hosts, "127.0.0.1")
	}
	return p
}

// publishedAt returns where a port is that was published on ip of a machine, ""
// if it cannot be reached from here.
func publishedAt(ip, host string) string {
	addr, err := netip.ParseAddr(ip)
	switch {
	case err != nil || addr.IsUnspecified():
		if host != "" {
			return host
		}
		if addr == netip.IPv6Unspecified() {
			return "::1"
		}
		return "127.0.0.1"
	case host != "" && addr.IsLoopback():
		return ""
	}
	return addr.String()
}

// candidates returns the addresses for one of the container's ports.
func (p *places) candidates(port string) []string {
	list := slices.Clone(p.published[port])
	for _, host := range p.hosts {
		list = append(list, net.JoinHostPort(host, port))
	}
	return list
}

// probe returns the first address at which a SOCKS port answers.
func (p *places) probe(ctx context.Context, o Options, port string) (string, error) {
	list := p.candidates(port)
	if len(list) == 0 {
		return "", fmt.Errorf("%w has no address and does not publish port %s: docker run -p 127.0.0.1:%s:%s, or share a network with it",
			ErrContainer, port, port, port)
	}

	var failures []error
	for _, addr := range list {
		client := socks.Client{Addr: addr, HandshakeTimeout: o.Timeout}
		err := client.Probe(ctx, "probe", "x")
		if err == nil {
			return addr, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}

	return "", fmt.Errorf("no SOCKS port answers (is SocksPort 0.0.0.0:%s set in its torrc, and published or on a shared network?): %w",
		port, errors.Join(failures...))
}

// beside returns the control port's address where the SOCKS port is at addr.
func (p *places) beside(addr, port string) string {
	host, _, _ := net.SplitHostPort(addr)
	for _, candidate := range p.candidates(port) {
		if h, _, _ := net.SplitHostPort(candidate); h == host {
			return candidate
		}
	}
	return net.JoinHostPort(host, port)
}
