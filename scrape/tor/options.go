package tor

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/internal/options"
	"github.com/svcblocks/svcblocks/scrape/internal/socks"
)

// Options are the settings of a [Tor], copied by [Dial] and [Start]. The zero
// value of each field is its default. Logger is set in code; everything else can
// be loaded from a file.
type Options struct {
	// Container is the name or id of the Docker container that Tor runs in, for
	// Dial. It asks the Engine where the container is, and takes the first address
	// at which a SOCKS port answers: the published port if this process is on the
	// host, the container's own address if they share a network. Without access to
	// the Engine's socket it tries the name itself, which Docker's DNS knows on a
	// shared network, and the port on 127.0.0.1. If the container is lost, the next
	// use looks for it again. Defaults to none.
	Container string `doc:"name or id of the Docker container that Tor runs in"`
	// SOCKS is the SOCKS port: host:port or unix:/path. Defaults to
	// 127.0.0.1:9050. With Container only the port counts, Start ignores it.
	SOCKS string `doc:"SOCKS port of Tor: host:port, or unix:/path" default:"127.0.0.1:9050" zero:"default"`
	// Control is the control port: host:port or unix:/path. Defaults to none.
	// With Container only the port counts, Start ignores it.
	Control string `doc:"control port of Tor: host:port, or unix:/path; none if empty"`
	// Password is for the control port, if torrc has HashedControlPassword.
	Password secret.Secret `doc:"password of the control port"`
	// CookieFile is where the control port's cookie lies. Defaults to where Tor
	// says; needed if Tor sees another file system.
	CookieFile string `doc:"cookie file of the control port, if it lies elsewhere than Tor says"`
	// Timeout bounds each command on the control port, and reaching and greeting
	// either port. Defaults to 4s; negative: 1m.
	Timeout time.Duration `doc:"bound of each answer of Tor's own; negative is 1m" default:"4s" zero:"default"`
	// DisableStartCheck lets Dial return without contact to Tor, so that a service
	// can come up before its Tor does.
	DisableStartCheck bool `doc:"start although Tor is not there yet"`
	// DockerHost is where the Docker Engine is, for Container: unix:///path,
	// tcp://host:port or ssh://user@host, which runs the ssh program without a
	// question. Defaults to DOCKER_HOST of the environment, with DOCKER_TLS_VERIFY
	// and DOCKER_CERT_PATH, else to unix:///var/run/docker.sock. On another machine
	// the container must publish its ports.
	DockerHost string `doc:"Docker Engine: unix:///path, tcp://host:port or ssh://user@host; DOCKER_HOST or the local socket if empty"`
	// Binary is the program for Start. Defaults to tor, from PATH.
	Binary string `doc:"the tor program, where the service runs its own" default:"tor" zero:"default"`
	// DataDir is where Start's Tor keeps what it learns of the network, for a
	// quicker start the next time. A folder that others may write, or that belongs
	// to a stranger, is refused. Defaults to a folder that is removed at Close.
	DataDir string `doc:"where a Tor of the service's own keeps its data; a temporary folder if empty"`
	// Shared allows a DataDir that others may write or that a stranger owns.
	Shared bool `doc:"allow a data folder that others may write"`
	// ExitCountries are the countries that Start's Tor leaves by, as two letters:
	// de, nl. There must be some exits in them. Defaults to all.
	ExitCountries []string `doc:"countries that a Tor of the service's own leaves by, as de or nl"`
	// Torrc holds further lines of torrc for Start.
	Torrc []string `doc:"further lines of torrc for a Tor of the service's own"`
	// Logger gets one line per event. Defaults to none.
	Logger *slog.Logger `koanf:"-"`
}

// Validate returns every mistake, each by its field.
func (o Options) Validate() error {
	wrong := o.mistakes()
	return wrong.Err("tor: options")
}

func (o Options) mistakes() options.Mistakes {
	options.Fill(&o)
	wrong := options.Check(o)
	if o.Container != "" && !isContainerName(o.Container) {
		wrong.Add("Container", "%q is no name and no id: write letters, digits, _, . and - only", o.Container)
	}

	for _, field := range []struct{ name, addr string }{{"SOCKS", o.SOCKS}, {"Control", o.Control}} {
		if field.addr == "" {
			continue
		}
		if err := validAddr(field.addr); err != nil {
			wrong.Add(field.name, "%s", err)
		}
	}

	if o.DockerHost != "" {
		if _, err := parseEngine(o.DockerHost); err != nil {
			wrong.Add("DockerHost", "%s", err)
		}
	}

	for i, country := range o.ExitCountries {
		if len(country) != 2 || strings.Trim(strings.ToLower(country), "abcdefghijklmnopqrstuvwxyz") != "" {
			wrong.Add(fmt.Sprintf("ExitCountries[%d]", i), "%q is no country: write two letters, as de", country)
		}
	}

	for i, line := range o.Torrc {
		if strings.ContainsAny(line, "\r\n") {
			wrong.Add(fmt.Sprintf("Torrc[%d]", i), "holds more than one line: give each an item of its own")
		}
	}

	return wrong
}

// withDefaults returns a copy with every default filled in, or all that is
// wrong. start says that Start is to run it.
func (o *Options) withDefaults(start bool) (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	wrong := c.mistakes()
	if start && c.Container != "" {
		wrong.Add("Container", "is set, and Start runs a Tor of its own: use Dial")
	}
	if err := wrong.Err("tor: new"); err != nil {
		return c, err
	}

	options.Fill(&c)
	if c.Timeout < 0 {
		c.Timeout = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func validAddr(addr string) error {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok && path != "" {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err == nil && host != "" {
		if n, err := strconv.Atoi(port); err == nil && n > 0 && n < 65536 {
			return nil
		}
	}
	return fmt.Errorf("%q is no address: write host:port, as 127.0.0.1:9050, or unix:/path", addr)
}

// place returns the place of fixed addresses.
func (o *Options) place() *place {
	p := &place{socks: socks.Client{Addr: o.SOCKS, HandshakeTimeout: o.Timeout}}
	if o.Control != "" {
		p.control = newController(o.Control, o.Password, o.CookieFile, o.Timeout)
	}
	return p
}

// countries returns the lines of torrc for ExitCountries.
func (o *Options) countries() []string {
	if len(o.ExitCountries) == 0 {
		return nil
	}
	var list []string
	for _, country := range o.ExitCountries {
		list = append(list, "{"+strings.ToLower(country)+"}")
	}
	return []string{"ExitNodes " + strings.Join(list, ","), "StrictNodes 1"}
}
