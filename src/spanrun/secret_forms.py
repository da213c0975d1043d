"""What secrets look like in texts: the one list of patterns that `redact` goes by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from spanrun.secret_words import LETTERS, OF_MAIL, Check, Rule, compiled

# By their first letters, whose case is spelt out: so the regex engine skips most of it.
_NAMES: Final = (
    r"(?:(?-i:[tT])oken|(?-i:[pP])(?:ass(?:word|phrase|code|wd)|wd|rivate[_-]?key)"
    r"|(?-i:[sS])(?:ecret(?:[_-]?key)?|(?:igning|ession|ubscription)[_-]?key"
    r"|hared[_-]?access[_-]?signature)"
    r"|(?-i:[aA])(?:pi|cc(?:ess|ount)|uth)[_-]?key(?:[_-]?id)?"
    r"|(?-i:[cC])(?:redentials?|onsumer[_-]?key)|(?-i:[eE])ncryption[_-]?key"
    r"|(?-i:[fF])unctions[_-]?key|(?-i:[lL])icen[cs]e[_-]?key|(?-i:[mM])aster[_-]?key)"
    r"(?:\d|[_-]?(?:value|confirm(?:ation)?))?"
)
_HEADERS: Final = rf"(?:[\w-]*{_NAMES}|(?:proxy-)?authorization|(?:set-)?cookie)"
_PASSWORD: Final = r"(?-i:[pP])(?:ass(?:word|phrase|code|wd)|wd)"  # noqa: S105
_SAYS: Final = ("key", "secret", "token", "pass", "pwd", "credential", "signature")
_SIGNS: Final = ("=", ":", "->", "<-", "%3")
_VALUES: Final = ("value", "content", "default")

QUOTE: Final = r"(?:\\*['\"]|&(?:quot|apos|#0?3[49]);|%22|\\+u002[27])"
"""In JSON inside of JSON it has backslashes; in HTML and in URLs it is escaped."""
_S: Final = r"(?:\n[ +]{0,24}\||\s|\\{1,4}[nrt])"
"""White space, in JSON and in a repr as well, and where a group of errors is shown, of
which Python shows ten levels, each two characters further in."""
_IS: Final = rf"{_S}*(?::=|==?|:|=>|<-|->|%3[dDaA]){_S}*"
_PREFIX: Final = r"[bBrRuUfFN]{0,2}"

# What a rule hides is in the group `secret`, `quoted` or `rest`; what begins after the
# group `quote` goes on to the same quote, or to the end of the line.
_START: Final = r"(?:\A|[\s'\"\[(`])"
_GLUED: Final = r"(?:\\*['\"],)?[\s=]{0,4}"  # to its option, in a line or in a list
_NEXT: Final = r"(?:\\*['\"],)?[\s=]{1,4}"
_BEGINS: Final = rf"(?P<quote>{QUOTE})"
_Q: Final = r"\\*['\"]"
_OPEN: Final = r"(?:\\*['\"`]|[‘“]|\\{1,4}u201[8c])"
_QUOTED: Final = r"(?P<quoted>[^'\"`’”\\\n]+)"
_WORD: Final = r"(?P<secret>[^\s'\"`\\]{3,})"
_INSIDE: Final = rf"{_Q}(?P<quoted>[^'\"\\\n]+)"
_SPOKEN: Final = (
    rf"(?:{_PASSWORD}|(?-i:[tT])oken|(?-i:[pP])rivate[\s_-]?key"
    r"|(?-i:[sS])(?:ecret|(?:igning|ession|ubscription)[\s_-]?key)"
    r"|(?-i:[aA])(?:uthorization|(?:pi|cc(?:ess|ount)|uth)[\s_-]?key))"
)
_TOLD: Final = r"(?P<verb>\s{1,4}(?:is|was|to|provided|used|given))?"


def _rule(
    hints: tuple[str, ...],
    pattern: str,
    check: Check = "always",
    also: tuple[str, ...] = (),
    *,
    before: int = 0,
    after: int = 96,
) -> Rule:
    return Rule(hints, also, pattern, check, before, after)


_NAME: Final = 24  # characters before its last hint, "key", begins


def _blocks() -> Iterator[Rule]:
    """``password: |``, and the value in the next line, of YAML."""
    yield _rule(
        _SAYS,
        rf"(?i){_NAMES}(?:{_Q})?\s{{0,4}}:\s{{0,4}}[|>][+-]?{_S}{{2,64}}"
        r"(?P<secret>[^\s'\"\\][^'\"\n\\]*)",
        also=("|", ">"),
        before=_NAME,
        after=160,
    )
    yield _rule(
        ("-begin ",),
        r"(?s)(?P<secret>-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
        r".*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\Z))",
        also=("private key",),
        before=4,
    )


def _signed() -> Iterator[Rule]:
    """What has a sign between its name and its value."""
    yield _rule(
        _SAYS,
        rf"(?i){_NAMES}(?:{QUOTE})?{_IS}"
        rf"(?:{_PREFIX}{_BEGINS}|(?P<secret>[^\s'\"&,;)}}\]]{{3,}}))",
        also=_SIGNS,
        before=_NAME,
        after=112,
    )
    yield _rule(  # ('x-api-key', '…'), as lists of headers are shown
        (*_SAYS, "auth", "cookie"),
        rf"(?i)[(\[]\s*{_PREFIX}{QUOTE}{_HEADERS}{QUOTE}\s*,\s*{_PREFIX}{_BEGINS}",
        also=("(", "["),
        before=112,
    )
    authorization = rf"(?i)authorization(?:{QUOTE})?{_IS}{_PREFIX}(?:{QUOTE})?"
    yield _rule(
        ("authorization",),
        rf"{authorization}(?P<secret>(?:digest|hawk|oauth|aws4-hmac-sha256)\s[^\r\n]+)",
    )
    yield _rule(
        ("authorization",),
        rf"{authorization}(?:[a-z]+\s{{1,8}})?(?P<secret>[^\s'\",;\\]{{3,}})",
    )
    yield _rule(
        ("cookie",),
        rf"(?i)\b(?:set-)?cookie(?:{QUOTE})?\s*:\s*(?P<secret>[^\r\n]+)",
        before=4,
        after=64,
    )


def _in_urls() -> Iterator[Rule]:
    """What URLs have in them; most of them are known by their place."""
    yield _rule(  # user:password@, or a token alone
        ("://",),
        r"://(?P<secret>[^/\s'\"<>]+)@",
        also=("@",),
        after=515,
    )
    yield _rule(  # a whole webhook is a secret
        ("hooks", "telegram"),
        r"(?i)(?:hooks\.slack\.com/services|/api/webhooks|api\.telegram\.org)/"
        r"(?P<secret>[\w:/-]{8,})",
        before=8,
        after=64,
    )
    yield _rule(  # what is called shortly in a query
        ("key=", "sig=", "signature=", "auth=", "jwt=", "sas=", "id=", "otp="),
        r"(?i)[?&;](?:[\w-]*signature|key|sig|auth|jwt|sas|session(?:_?id)?|sid"
        r"|otp)=(?P<secret>[^\s'\"&#]{6,})",
        before=48,
        after=32,
    )
    yield _rule(
        ("code=",), r"(?i)[?&]code=(?P<secret>[^\s'\"&#]{16,})", before=1, after=32
    )


def _shaped() -> Iterator[Rule]:
    """What is known by its own looks."""
    yield _rule(
        ("bearer", "basic"),
        r"(?i)\b(?:bearer|basic)\s+(?P<secret>[\w.~+/=-]{6,})",
        "encoded",
        after=48,
    )
    yield _rule(  # keys that are known by their first letters
        LETTERS,
        r"\b(?P<secret>[spr]k[-_][\w-]{12,}|gsk_\w{20,}|whsec_\w{16,}"
        r"|gh[pousr]_\w{12,}|github_pat_\w{12,}|glpat-[\w-]{12,}"
        r"|xox[a-eoprs]-[\w-]{10,}|hf_\w{16,}|npm_\w{20,}|pypi-[\w-]{16,}"
        r"|hvs\.[\w-]{16,}|GOCSPX-[\w-]{16,}|SG\.[\w-]{16,64}\.[\w-]{16,}"
        r"|inf-[0-9a-f]{8}-[0-9a-f-]{20,}|1//0[\w-]{10,}"
        r"|AIza[\w-]{20,}|(?:AKIA|ASIA)[A-Z0-9]{12,}|ya29\.[\w.-]{6,}"
        r"|eyJ[\w-]{6,15}\.[\w-]+(?:\.[\w-]*)?|eyJ[\w-]{16,}(?:\.[\w-]*)*)",
        "lettered",
        before=1,
        after=112,
    )


def _markup(
    hint: str,
    opens: str,
    closes: str,
    first: str,
    inside: str,
    later: str = "[^<>]",
    near: str = r"[^<>&\n]",
) -> Iterator[Rule]:
    """What is in a tag: ``<password>``, ``<property name="password">``, a plist's.

    ``near`` and ``later`` are a character of it, ahead of a name and behind it. No tag
    begins with one: else the time grows with the square of how many there are.
    """
    tag = (
        rf"{opens}(?:{near}*?|key{closes}[\w.:-]*){_NAMES}(?:{QUOTE})?"
        rf"(?:{_S}{later}*?)?(?:{opens}/key{closes}{_S}*{opens}string)?{closes}"
    )
    cdata = rf"{_S}*{opens}!\[CDATA\[(?P<quoted>.+?)\]\]{closes}"
    # Where it breaks off: one with a space is a placeholder.
    ended = rf"{_S}*(?P<secret>{inside}+){opens}/"
    broken_off = rf"{first}[^<&\\\n]*"
    yield _rule(
        _SAYS,
        rf"(?is){tag}(?:{cdata}|{ended}|(?P<rest>{broken_off})(?:\Z|{_S}|{_Q}))",
        also=(hint,),
        before=144,
        after=320,
    )


def _pairs() -> Iterator[Rule]:
    """``name="password" value="x"``, of markup, JSON or YAML, in either order."""
    more = rf"(?:[\w-]+={_Q}[^'\"<>\n]*{_Q}\s{{1,8}}){{0,4}}"
    name = (
        rf"(?:name|key|header|id)(?:{_Q})?\s{{0,4}}[:=]\s{{0,4}}(?:{_Q})?"
        rf"[\w.:-]*(?:{_NAMES}|authorization)"
    )
    value = rf"(?:{'|'.join(_VALUES)})(?:{_Q})?\s{{0,4}}[:=]\s{{0,4}}"
    between = rf"(?:{_S}|[,;])+(?:{_Q})?{more}(?:{_Q})?"
    says = (*_SAYS, "auth")
    yield _rule(
        says,
        rf"(?i){name}(?:{_Q})?{between}{value}(?:{_INSIDE}|(?P<secret>[^\s'\"\\,;}}]+))",
        also=_VALUES,
        before=112,
        after=576,
    )
    yield _rule(
        _VALUES,
        rf"(?i)\b{value}{_Q}(?P<secret>[^'\"\\\n]+){_Q}{between}{name}",
        also=says,
        after=1168,
    )


def _arguments() -> Iterator[Rule]:
    """Of programs: options by their names, and those of some well-known programs."""
    named = rf"{_START}--?[\w-]*{_NAMES}{_NEXT}"
    login = rf"{_START}(?:-[uU]{_GLUED}|--(?:proxy-)?user(?:name)?{_NEXT})"
    colon = r"(?P<name>[^\s:'\"\\]*):"
    upto = r"[^\n|;&]*?[\s'\"]"
    by_program = (
        rf"\b(?:(?:sshpass|mongo[a-z]{{0,10}}|(?:docker|podman|helm)\s[a-z ]{{0,16}}"
        rf"login)\b{upto}-p|redis-cli\b{upto}-a|ldap[a-z]{{1,12}}\b{upto}-w"
        rf"|(?:sqlcmd|mosquitto_[a-z]{{1,8}})\b{upto}-P){_GLUED}"
    )
    programs = ("sshpass", "mongo", "login", "redis-cli", "ldap", "sqlcmd")
    mysql = rf"\b(?:mysql|mariadb)[\w-]*{upto}-p"
    oracle = r"(?:jdbc:oracle:[a-z]{1,8}:|sqlplus\s{1,4}(?:-\w{1,4}\s)?)"
    yield _rule(
        _SAYS,
        rf"(?i){named}(?:{_INSIDE}|{_WORD})",
        "argument",
        ("-",),
        before=92,
    )
    yield _rule(
        ("-u",),
        rf"{login}(?:{_Q}{colon}(?P<quoted>[^'\"\\\n]+)"
        rf"|{colon.replace('name', 'word')}(?P<secret>[^\s'\"\\]+))",
        "login",
        before=12,
        after=112,
    )
    yield _rule(
        (*programs, "mosquitto_"),
        rf"{by_program}(?:{_INSIDE}|{_WORD})",
        "argument",
        ("-p", "-a", "-w"),
        before=28,
        after=320,
    )
    yield _rule(
        ("mysql", "mariadb"),
        rf"{mysql}(?:{_INSIDE}|{_WORD})",
        "glued",
        ("-p",),
        after=320,
    )
    yield _rule(
        ("oracle", "sqlplus"),
        rf"(?i){oracle}[\w$#]+/(?P<secret>[^\s@'\"]+)",
        before=5,
        after=112,
    )
    yield _rule(
        ("-pass",),
        rf"\s-pass(?:in|out)?\s{{1,4}}(?:{_Q})?pass:(?P<secret>[^\s'\"]+)",
        also=("pass:",),
        before=1,
        after=48,
    )


def _prose() -> Iterator[Rule]:
    """Without a colon or a sign of equality, as people and servers write."""
    spoken = rf"(?P<named>{_SPOKEN}){_TOLD}\s{{0,2}}[:=]?\s{{1,4}}"
    said = rf"{_PASSWORD}(?:\s{{1,4}}(?:is|was|to|as|set\sto|changed\sto))?\s{{1,4}}"
    header = rf"\bx-[\w-]{{0,24}}(?:{_NAMES}|key|auth)(?:[ \t]|\\{{1,4}}t){{1,4}}"
    yield _rule(("x-",), rf"(?i){header}{_WORD}", "header", (*_SAYS, "auth"))
    yield _rule(("pass", "pwd"), rf"(?i){said}{_OPEN}{_QUOTED}", after=64)
    yield _rule(
        (*_SAYS, "auth"),
        rf"(?i){spoken}(?:{_OPEN}{_QUOTED}|{_WORD})",
        "spoken",
        before=_NAME,
        after=64,
    )
    yield _rule(
        ("phrase", "mnemonic"),  # of many words, to the end of the line
        r"(?i)(?:passphrase|(?:seed|recovery)[ _-]phrase|mnemonic)\s{0,4}[:=]\s{0,4}"
        r"(?P<secret>[^'\"\s,;&\\<][^'\"\n,;&\\<]*)",
        before=16,
        after=48,
    )
    by = r"identified\s{1,4}(?:with\s\S+\s{1,4})?by\s{1,4}(?:password\s{1,4})?"
    yield _rule(("identified",), rf"(?i){by}{_INSIDE}", after=160)
    yield _rule(
        ("identified",),
        rf"(?i)\buser\s{{1,4}}\S+\s{{1,4}}{by}{_WORD}",
        before=144,
        after=160,
    )
    yield _rule(  # .netrc, redis.conf
        ("machine", "requirepass"),
        r"(?:\bmachine\s{1,4}\S+\s{1,4}login\s{1,4}\S+\s{1,4}password"
        r"|\brequirepass)\s{1,4}(?P<secret>\S+)",
        also=("pass",),
        after=432,
    )


def _assignments() -> Iterator[Rule]:
    """What has a sign of its own, and is only sometimes a secret."""
    yield _rule(
        ("@",),
        rf"(?:(?:\A|[^\w.+-])(?P<mail>(?i:{'|'.join(OF_MAIL)}))|[\w.+-]):"
        r"(?P<secret>[^\s:@/'\"<>()\[\]{},;]{3,128})"
        r"@(?:[a-zA-Z][\w-]*\.[a-zA-Z]|\d{1,3}\.\d{1,3}\.|localhost\b|[a-z]{1,8}\("
        r"|\w[\w-]*[:/])",
        "at_host",
        (":",),
        before=196,
        after=80,
    )
    yield _rule(
        ("pass",),
        rf"(?i)(?:\A|[\s?&;,{{(\[_'\"-])pass(?:{_Q})?\s{{0,2}}[=:]\s{{0,2}}(?:{_Q})?"
        r"(?P<secret>[^\s'\",;&)}\]]{3,})",
        "assigned",
        ("=", ":"),
        before=1,
        after=48,
    )
    yield _rule(  # requests.get(…, auth=("user", "password"))
        ("auth",),
        rf"(?i)auth\s{{0,2}}=?\s{{0,2}}\(\s{{0,2}}{_Q}[^'\"\n]*{_Q}\s{{0,2}},\s{{0,2}}"
        rf"{_INSIDE}",
        also=("(",),
        after=176,
    )
    yield _rule(
        ("signature",),
        rf"(?i)(?:\A|[\s,?&;])signature\s{{0,2}}[=:]\s{{0,2}}(?:{_Q})?"
        r"(?P<secret>[^\s'\",;&]{16,})",
        before=1,
        after=48,
    )
    yield _rule(
        ("id=",),
        r"(?i)\b(?:phpsessid|jsessionid|asp\.net_sessionid|connect\.sid)="
        r"(?P<secret>[^\s'\";,&]{8,})",
        before=18,
        after=16,
    )
    yield _rule(
        ("cookie",),
        r"(?i)\bcookie[ \t]{1,4}[\w.-]+=(?P<secret>\S+)",
        "shaped",
    )


RULES: Final = (
    *_blocks(),
    *_signed(),
    *_in_urls(),
    *_shaped(),
    *_markup("<", "<", ">", r"[^<\s]", "[^<]"),
    *_markup(
        *("&lt;", "&lt;", "&gt;", r"[^<&\s]", "(?:[^<&]|&[^l<&])"),
        later="(?:[^<>&]|&[^l<>&])",
    ),
    *_markup(  # escaped for JSON as Go does it
        *("u003c", r"\\{1,4}u003c", r"\\{1,4}u003e", r"[^<\\\s]"),
        r"(?:[^<\\]|\\[^u\\]|\\{1,4}u002[0-9a-f])",
        r"(?:[^<>\\]|\\{1,4}(?:[^<>u\\]|u(?:[^0]|0(?:[^0]|0[^3]))))",
        r"(?:[^<>&\n\\]|\\{1,4}(?:[^<>&\nu\\]|u(?:[^0]|0(?:[^0]|0[^3]))))",
    ),
    *_pairs(),
    *_arguments(),
    *_prose(),
    *_assignments(),
)

HINTS: Final = tuple(sorted({hint for rule in RULES for hint in rule.hints}))
"""Text without any of them, which is most, needs no rule."""

KEY: Final = rf"(?is)\A(?:.*[.\s])?{_HEADERS}\Z"
SECRET_KEY: Final = compiled(KEY)
"""Attributes whose key alone says that the value is for nobody's eyes."""
