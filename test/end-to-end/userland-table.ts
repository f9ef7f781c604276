/** What programs expect of the system they run on, and find on AWS: a table of little programs and what they tell. */

export interface Expectation {
  readonly name: string;
  /** A script for `/bin/sh -c`, or an expression of the image's language. */
  readonly program: string;
  /** What the script prints, without the last line feed, or the expression's value as JSON. */
  readonly expected: string | RegExp;
}

/** 12:00 UTC on 1 July 2026, a day in summer. */
const SUMMER_S = 1_782_907_200;

/** PEP 513, 571, 599 and 600: what wheels of the manylinux tags may take for granted. */
const MANYLINUX_LIBRARIES =
  'libgcc_s.so.1 libstdc++.so.6 libm.so.6 libdl.so.2 librt.so.1 libc.so.6 libnsl.so.1 libutil.so.1 libpthread.so.0 ' +
  'libresolv.so.2 libX11.so.6 libXext.so.6 libXrender.so.1 libICE.so.6 libSM.so.6 libGL.so.1 libgobject-2.0.so.0 ' +
  'libgthread-2.0.so.0 libglib-2.0.so.0 libz.so.1 libexpat.so.1 libanl.so.1 libmvec.so.1 libatomic.so.1 libgomp.so.1';

const script = (name: string, program: string, expected: string | RegExp): Expectation => ({ name, program, expected });

/** In both images. */
export const SCRIPTS: readonly Expectation[] = [
  script('sh', 'echo hi', 'hi'),
  script('sh is bash', 'list=(a b c); [[ $list == a ]] && echo ${#list[@]}', '3'),
  script('bash', "/bin/bash -c 'echo $BASH_VERSION'", /^5\./),
  script('#!/bin/sh', 'printf "#!/bin/sh\\necho run\\n" > /tmp/s1; chmod +x /tmp/s1; /tmp/s1', 'run'),
  script('#!/bin/bash', 'printf "#!/bin/bash\\necho run\\n" > /tmp/s2; chmod +x /tmp/s2; /tmp/s2', 'run'),
  script('#!/usr/bin/env', 'printf "#!/usr/bin/env sh\\necho run\\n" > /tmp/s3; chmod +x /tmp/s3; /tmp/s3', 'run'),
  script('/bin and /usr/bin', 'ls -d /bin/ls /usr/bin/ls /bin/env /usr/bin/env /bin/cat', /^(\/\S+\n?){5}$/),
  script('which', 'which ls', '/usr/bin/ls'),
  script('cp, mv, rm, ls', 'cd /tmp; echo x > f; cp f g; mv g h; rm f; ls f g h 2>/dev/null; rm h', 'h'),
  script(
    'sort, uniq, head, tail, wc',
    'printf "b\\na\\nb\\n" | sort | uniq | head -1; seq 5 | tail -2 | wc -l',
    'a\n2',
  ),
  script('cut, tr, tee, paste', 'echo a:b | cut -d: -f2 | tr b B | tee /dev/null | paste -s', 'B'),
  script(
    'grep',
    'printf "one\\ntwo\\n" | grep -n tw; echo x12 | grep -oP "\\\\d+"; echo ab | grep -E "a|c"',
    '2:two\n12\nab',
  ),
  script('sed', "echo hello | sed -E 's/l+/L/'", 'heLo'),
  script('awk', "echo 'a b c' | awk '{print $2, NR}'", 'b 1'),
  script('find, xargs', 'find /srv -name "libmine*" | xargs -n1 basename', 'libmine.so.1'),
  script(
    'diff, cmp',
    'cd /tmp; echo 1 > a1; echo 2 > a2; diff a1 a2 | tail -1; cmp -s a1 a1 && echo same',
    '> 2\nsame',
  ),
  script(
    'tar and its compressions',
    'cd /tmp; echo t > t1; for z in z j J; do tar c${z}f t.tar t1 && tar x${z}Of t.tar; done',
    't\nt\nt',
  ),
  script('gzip, bzip2, xz', 'echo z | gzip | gunzip | bzip2 | bunzip2 | xz | unxz', 'z'),
  script('zip, unzip', 'cd /tmp; echo u > u1; zip -q u.zip u1; unzip -p u.zip', 'u'),
  script(
    'digests',
    'printf x | sha256sum | cut -c1-8; printf x | md5sum | cut -c1-8; printf x | base64',
    '2d711642\n9dd4e461\neA==',
  ),
  script('date', 'date -u -d @0 +%F', '1970-01-01'),
  script(
    'stat, realpath, dirname, mktemp',
    'stat -c %a /tmp; realpath /bin; dirname /a/b; mktemp',
    /^1777\n\/usr\/bin\n\/a\n\/tmp\//,
  ),
  script('id, whoami', 'whoami; id -u; id -gn', 'function\n1000\nfunction'),
  script('ps, pgrep, kill', 'ps -o comm= -p $$; pgrep -c init; kill -0 $$ && echo alive', 'sh\n1\nalive'),
  script('timeout, sleep, nproc, free', 'timeout 9 sleep 0; echo $?; nproc; free -m | grep -c Mem', '0\n1\n1'),
  script('a pipe is closed by its reader', 'yes | head -1', 'y'),
  script('openssl', 'openssl version', /^OpenSSL 3/),
  script(
    'certificates one by one',
    'openssl verify -CApath /etc/ssl/certs /etc/ssl/certs/ISRG_Root_X1.pem',
    '/etc/ssl/certs/ISRG_Root_X1.pem: OK',
  ),
  script('certificates in one file', 'grep -c BEGIN.CERTIFICATE /etc/ssl/certs/ca-certificates.crt', /^1\d\d$/),
  ...['/etc/pki/tls/certs/ca-bundle.crt', '/etc/pki/tls/cert.pem', '/etc/ssl/cert.pem', '/var/runtime/ca-cert.pem'].map(
    (path) => script(`certificates: ${path}`, `head -1 ${path}`, '-----BEGIN CERTIFICATE-----'),
  ),
  script('a time zone', `TZ=Europe/Berlin date -d @${SUMMER_S} '+%H:%M %Z'`, '14:00 CEST'),
  script('an old name of a time zone', `TZ=US/Pacific date -d @${SUMMER_S} '+%H:%M %Z'`, '05:00 PDT'),
  script('local time', 'unset TZ; date +%Z; date -r /etc/localtime +%z', 'UTC\n+0000'),
  script('locales', 'locale -a | tr "\\n" " "', /C\.utf8 .*en_US\.utf8/),
  script('LANG', 'locale charmap; LANG=C.UTF-8 locale charmap; locale 2>&1 | grep -ci cannot', 'UTF-8\nUTF-8\n0'),
  script('UTF-8 in programs', 'printf "äöü" | wc -m; LANG=C.UTF-8 sh -c "printf ä | wc -m"', '3\n1'),
  script('iconv', 'printf "\\344" | iconv -f latin1 -t utf8', 'ä'),
  script('services', 'getent services https | tr -s " "', 'https 443/tcp'),
  script('protocols', 'getent protocols tcp | tr -s " "', 'tcp 6 TCP'),
  script(
    'its own name',
    'hostname; cat /etc/hostname; uname -n; getent hosts "$(hostname)" | cut -d" " -f1',
    'snapfaas\nsnapfaas\nsnapfaas\n127.0.0.1',
  ),
  script('localhost', 'getent hosts localhost | tr -s " "', '::1 localhost ip6-localhost ip6-loopback'),
  script('users', 'getent passwd 1000 | cut -d: -f1,6; getent group nogroup | cut -d: -f3', 'function:/tmp\n65534'),
  script('os-release', '. /etc/os-release; echo $ID', 'debian'),
  script('mime types', 'grep -c "^image/png" /etc/mime.types', '1'),
  script('/opt', 'ls -d /opt; ls /opt', '/opt\nlib'),
  script('PATH', 'echo $PATH', '/usr/local/bin:/usr/bin:/bin:/opt/bin'),
  script('/dev/stdout', '{ echo out > /dev/stdout; echo err > /dev/stderr; } 2>&1 | cat', 'out\nerr'),
  script(
    "the runtime's own output, opened",
    'echo logged > /proc/$PPID/fd/1 && echo logged >> /proc/$PPID/fd/2 && echo ok',
    'ok',
  ),
  script(
    'devices',
    'echo x > /dev/null; head -c4 /dev/zero | wc -c; head -c4 /dev/urandom | wc -c; ls /dev/fd/0',
    '4\n4\n/dev/fd/0',
  ),
  script('/dev/shm', 'echo s > /dev/shm/s; cat /dev/shm/s; stat -c %a /dev/shm', 's\n1777'),
  script(
    'read-only elsewhere',
    'for d in / /usr /etc /opt /srv /var/task /run; do touch $d/x 2>/dev/null && echo $d; done; true',
    '',
  ),
  script(
    'ldconfig -p',
    '/sbin/ldconfig -p | grep -E "lib(stdc\\+\\+|ssl|mine)\\.so\\.[0-9]+ " | cut -d" " -f1 | tr -d "\\t"',
    'libmine.so.1\nlibssl.so.3\nlibstdc++.so.6',
  ),
  script('ldd', 'ldd /usr/bin/{openssl,ps,tar,xz,find} | grep -c "not found"', '0'),
  script('no link leads nowhere', 'find -L /usr/bin /etc /usr/lib -type l 2>/dev/null', ''),
  script('libraries that wheels count on', `LD_PRELOAD='${MANYLINUX_LIBRARIES}' /usr/bin/true 2>&1`, ''),
];

/** Expressions of Python, the modules in them imported. */
export const PYTHON: readonly Expectation[] = [
  script('os.system', "os.system('true')", '0'),
  script('shell=True', "subprocess.run('echo hi', shell=True, capture_output=True, text=True).stdout", '"hi\\n"'),
  script('os.popen', "os.popen('echo $((1+1))').read()", '"2\\n"'),
  script(
    'the interpreter by its names',
    "[subprocess.run([p, '-c', 'print(exit)'], capture_output=True).returncode for p in ('python3', '/usr/bin/python3', 'python', sys.executable, '/var/lang/bin/python3')]",
    '[0, 0, 0, 0, 0]',
  ),
  script(
    '#!/usr/bin/env python3',
    "(open('/tmp/p', 'w').write('#!/usr/bin/env python3\\nprint(1)'), os.chmod('/tmp/p', 0o755), subprocess.check_output('/tmp/p').decode())[2]",
    '"1\\n"',
  ),
  script('zoneinfo', "str(zoneinfo.ZoneInfo('Europe/Berlin'))", '"Europe/Berlin"'),
  script('all time zones', 'len(zoneinfo.available_timezones()) > 400', 'true'),
  script(
    'TZ',
    `(os.environ.__setitem__('TZ', 'Europe/Berlin'), time.tzset(), time.strftime('%H:%M %Z', time.localtime(${SUMMER_S})))[2]`,
    '"14:00 CEST"',
  ),
  script('certificates', "ssl.create_default_context().cert_store_stats()['x509_ca'] > 100", 'true'),
  script(
    'default paths',
    'all(map(os.path.exists, (ssl.get_default_verify_paths().cafile, ssl.get_default_verify_paths().capath)))',
    'true',
  ),
  ...['ssl', 'c', 'm', 'z', 'stdc++', 'crypto', 'sqlite3', 'GL', 'X11'].map((name) =>
    script(`find_library: ${name}`, `ctypes.util.find_library('${name}')`, /^"lib.*\.so\.\d+"$/),
  ),
  script("find_library: the function's own", "ctypes.util.find_library('mine')", '"libmine.so.1"'),
  script('find_library: nothing', "ctypes.util.find_library('nowhere')", 'null'),
  script('its own name', 'socket.gethostbyname(socket.gethostname())', '"127.0.0.1"'),
  script('getfqdn', 'socket.getfqdn()', /^"\w+"$/),
  script('services', "[socket.getservbyname('https'), socket.getprotobyname('udp')]", '[443, 17]'),
  script('the locale of LANG', "locale.setlocale(locale.LC_ALL, '')", '"en_US.UTF-8"'),
  script('C.UTF-8', "locale.setlocale(locale.LC_ALL, 'C.UTF-8')", '"C.UTF-8"'),
  script(
    'format by locale',
    "(locale.setlocale(locale.LC_ALL, 'en_US.UTF-8'), locale.format_string('%d', 1234567, grouping=True))[1]",
    '"1,234,567"',
  ),
  script(
    'exit, quit, help, credits',
    '[callable(f) for f in (exit, quit, help, credits, license, copyright)]',
    '[true, true, true, true, true, true]',
  ),
  script('/dev/stdout', "open('/dev/stdout', 'w').name + open('/dev/stderr', 'a').name", '"/dev/stdout/dev/stderr"'),
  script(
    'user',
    "[getpass.getuser() if os.environ.setdefault('USER', '') else pwd.getpwuid(os.getuid()).pw_name, os.path.expanduser('~')]",
    '["function", "/tmp"]',
  ),
  script('os-release', "platform.freedesktop_os_release()['ID']", '"debian"'),
  script(
    'mime types',
    "[mimetypes.guess_type(n)[0] for n in ('a.png', 'a.docx', 'a.webp')]",
    '["image/png", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "image/webp"]',
  ),
  script(
    'standard library',
    "[importlib.import_module(m).__name__ for m in ('lib2to3.pgen2', 'distutils.util', 'pydoc', 'sqlite3', 'curses', 'readline', 'bz2', 'lzma', 'dbm', 'unittest.mock', 'ctypes.wintypes')] and 1",
    '1',
  ),
  script('pseudo terminals', 'os.isatty(pty.openpty()[1])', 'true'),
];

/** Expressions of Node; a promise is awaited. */
export const NODE: readonly Expectation[] = [
  script('execSync', "require('child_process').execSync('echo hi').toString()", '"hi\\n"'),
  script(
    'shell: true',
    "require('child_process').spawnSync('echo $0', { shell: true }).stdout.toString()",
    '"/bin/sh\\n"',
  ),
  script(
    'the runtime by its names',
    "['node', '/usr/bin/node', '/var/lang/bin/node'].map((p) => require('child_process').spawnSync(p, ['-p', '1']).status)",
    '[0,0,0]',
  ),
  script(
    '#!/usr/bin/env node',
    "(fs.writeFileSync('/tmp/n', '#!/usr/bin/env node\\nconsole.log(1)', { mode: 0o755 }), require('child_process').execFileSync('/tmp/n').toString())",
    '"1\\n"',
  ),
  script(
    'own name',
    "require('dns').promises.lookup(require('os').hostname()).then((found) => found.address)",
    '"127.0.0.1"',
  ),
  script('user', "require('os').userInfo().username", '"function"'),
  script('/dev/stdout', "fs.writeFileSync('/dev/stdout', '') ?? fs.appendFileSync('/dev/stderr', '') ?? 1", '1'),
  script('TZ', `new Date(${SUMMER_S}000).toLocaleTimeString('de', { timeZone: 'Europe/Berlin' })`, '"14:00:00"'),
  script(
    'certificates of the system',
    "fs.readdirSync('/etc/ssl/certs').filter((name) => /^[0-9a-f]{8}\\.0$/.test(name)).length > 100",
    'true',
  ),
];
