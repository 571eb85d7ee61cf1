"""The plainest habits of injections and jailbreaks in other languages than English."""

# ruff: noqa: RUF001 - letters of other scripts are what is looked for

from __future__ import annotations

from .tally import Rule

__all__ = ["TRANSLATED"]

_U = r"[^.!?。！？\n]"  # what may stand between two words of a sentence

TRANSLATED: tuple[Rule, ...] = (
    Rule(
        "override_de",
        65,
        "ignorier|ignorieren|vergiss|vergessen sie|missacht|verwirf|umgeh|setze dich über|befolge nicht",
        rf"(?!\w{{3,24}} (?:sie )?nicht)\w{{3,24}} {_U}{{0,60}}?(?:anweisung|instruktion|befehl|regeln|richtlinie"
        rf"|vorgaben|systemprompt|alles,? was)",
    ),
    Rule(
        "override_fr",
        65,
        "ignore|ignorez|ignorer|oubli|fais abstraction|faites abstraction|ne tiens pas compte|"
        "ne tenez pas compte|contourne",
        rf"(?<!n')(?<!ne )(?<!pas )[a-zà-ÿ ]{{3,40}}?\b(?:les|toutes|tous|tes|vos|mes|ces|ce|cette|la|le|des|tout"
        rf"|l'|d')\W{_U}{{0,60}}?"
        r"(?:instructions|consignes|directives|ordres|règles|regles|tout ce qu|ce qu(?:e|i) (?:pr[ée]c|vous|tu"
        r"|on t))",
    ),
    Rule(
        "override_es",
        65,
        "ignor|olvid|esque|descart|desconsider|haz caso omiso|omite|desobede|no sigas",
        rf"(?<!no )(?<!não )(?<!nao )(?<!nunca )[a-z]{{2,24}} {_U}{{0,60}}?(?:instruccion|instruç|instruco|reglas"
        rf"|regras|ordens|órdenes|ordenes|directrices|diretrizes"
        r"|indicaciones|todo lo (?:anterior|que)|tudo o que|tudo que)",
    ),
    Rule(
        "override_it",
        65,
        "ignora|dimentica|trascura|non seguire|tralascia",
        rf"(?<!non )[a-z]{{3,24}} {_U}{{0,60}}?(?:istruzioni|regole|ordini|direttive|linee guida|tutto (?:ciò|cio"
        rf"|quello))",
    ),
    Rule(
        "override_nl",
        65,
        "negeer|vergeet",
        rf"(?!\w{{5,12}} niet)[a-z]{{5,12}} {_U}{{0,60}}?(?:instructies|opdrachten|regels|aanwijzingen"
        rf"|richtlijnen)",
    ),
    Rule(
        "override_pl",
        65,
        "zignoruj|ignoruj|zapomnij|pomiń",
        rf"(?<!nie ){_U}{{0,60}}?(?:instrukcj|polece|zasad|wytyczn|poprzedni)",
    ),
    Rule(
        "override_sv",
        65,
        "ignorera|glöm|ignorer|glem",
        rf"(?!\w{{3,10}} (?:inte|ikke))(?<!ikke ){_U}{{0,60}}?(?:instruktion|regler|anvisning|instruks)",
    ),
    Rule("override_cs", 65, "ignoruj|zapomeň", rf"(?<!ne){_U}{{0,60}}?(?:pokyn|instrukc|pravid)"),
    Rule(
        "override_tr",
        65,
        "talimat|komut|kural",
        rf"{_U}{{0,60}}?(?:görmezden gel|yok say|dikkate alma|unut(?!ma)|göz ardı)",
    ),
    Rule("override_id", 65, "abaikan|lupakan", rf"(?<!jangan ){_U}{{0,60}}?(?:instruksi|perintah|aturan|arahan)"),
    Rule(
        "override_vi",
        65,
        "bỏ qua|phớt lờ|quên",
        rf"(?<!đừng ){_U}{{0,60}}?(?:hướng dẫn|chỉ dẫn|lệnh|quy tắc|chỉ thị)",
    ),
    Rule(
        "override_ru",
        65,
        "игнор|забуд|не обращай|пренебрег|отбрось",
        rf"(?<!не ){_U}{{0,50}}(?:инструкц|указан|правил|команд|ограничен)",
    ),
    Rule("override_uk", 65, "ігнор|забуд", rf"(?<!не ){_U}{{0,50}}(?:інструкц|вказів|правил|команд)"),
    Rule(
        "override_ar", 65, "تجاهل|انس|تجاوز", rf"(?<!ت){_U}{{0,50}}?(?:التعليمات|الأوامر|القواعد|تعليمات|الإرشادات)"
    ),
    Rule("override_hi", 65, "निर्देश|नियम|आदेश", rf"{_U}{{0,40}}?(?:अनदेखा|नजरअंदाज|नज़रअंदाज़|अनदेखी|भूल जा|उपेक्षा)"),
    Rule(
        "override_zh",
        65,
        "忽略|忽视|无视|忘记|忘掉|不要理会|不用理会|抛开|無視|忘記|绕过|不要遵守|停止遵循",
        r"(?<!不要)(?<!别)(?<!勿)(?<!不会)(?<!不能)(?<!不可)(?<!不该).{0,16}?(?:指令|指示|提示|说明|规则|命令"
        r"|規則|设定|設定|限制|对话|准则)",
    ),
    Rule(
        "override_ja",
        65,
        "指示|命令|ルール|プロンプト|規則|制約",
        r".{0,14}?(?:無視(?!し?な|せず)|忘れ(?!な|ず)|破棄|従わな)",
    ),
    Rule("override_ko", 65, "지시|명령|지침|규칙|프롬프트", r".{0,12}?(?:무시(?!하지)|잊(?!지)|따르지)"),
    Rule(
        "no_limits_translated",
        45,
        "keine regeln|keine richtlinien|keine einschränkung|ohne filter|uneingeschränkt|ohne regeln|sans règles|"
        "sans regles|"
        "aucune règle|aucune restriction|aucune limite|sans filtre|sin reglas|sin filtro|sin límites|sin limites|"
        "sin censura|"
        "ninguna regla|senza regole|senza filtri|senza limiti|nessuna regola|nessuna restrizione|sem regras|"
        "sem filtro|"
        "sem limites|sem censura|geen regels|zonder beperkingen|bez ogranicz|без ограничен|без цензуры|нет правил|"
        "нет ограничен|没有任何限制|不受任何限制|没有限制|不受限制|無制限|制限なし|没有道德|不受约束|제한 없이|"
        "제약 없이|بدون قيود|"
        "बिना किसी प्रतिबंध|sınırsız|sınır olmadan",
    ),
    Rule(
        "mode_translated",
        45,
        "entwicklermodus|entwickler-modus|mode développeur|mode developpeur|modo desarrollador|"
        "modo de desarrollador|"
        "modo desenvolvedor|modalità sviluppatore|modalita sviluppatore|режим разработчика|开发者模式|開發者模式|"
        "開発者モード|"
        "개발자 모드|ontwikkelaarsmodus|wartungsmodus|modo dios|modo sin restricciones|modo irrestrito|越狱模式|"
        "越獄|geliştirici modu",
    ),
    Rule(
        "safety_void_translated",
        40,
        "sicherheitsrichtlinien|richtlinien|regles de sécurité|règles de sécurité|regles de securite|"
        "consignes de sécurité|"
        "reglas de seguridad|normas de seguridad|regras de segurança|diretrizes de segurança|linee guida|"
        "regole di sicurezza|"
        "правила безопасности|安全准则|安全规则|安全限制",
        rf"{_U}{{8,50}}?(?:nicht gelten|gelten nicht|nicht mehr|ne s'appliquent pas|ne s'appliquent plus"
        rf"|no aplican|no se aplican"
        r"|não se aplicam|nao se aplicam|non valgono|non si applicano|не действуют|не применя|不适用|解除|失效)",
    ),
    Rule(
        "role_translated",
        20,
        "du bist jetzt|sie sind jetzt|tu es maintenant|vous êtes maintenant|ahora eres|ahora estas|ahora estás|"
        "agora você é|"
        "ora sei|adesso sei|теперь ты|ты теперь|现在你是|你现在是|從現在開始|从现在开始|从现在起|从此刻起|"
        "今からあなたは|이제부터|이제 너는|"
        "artık sen|w tej chwili jesteś|الآن أنت|अब तुम|अब आप|ab jetzt|à partir de maintenant|desde ahora|"
        "da ora in poi|с этого момента|"
        "отныне|de ahora en adelante|de agora em diante",
    ),
    Rule(
        "extract_translated",
        60,
        "systemanweisung|systemprompt|system-prompt|instructions système|prompt système|instrucciones del sistema|"
        "instrucciones de sistema|prompt del sistema|prompt de sistema|istruzioni di sistema|prompt di sistema|"
        "instruções do sistema|prompt do sistema|системный промпт|системные инструкции|системную инструкцию|"
        "系统提示|系统指令|系統提示|"
        "システムプロンプト|시스템 프롬프트|systeemprompt|sistem istemi|موجه النظام|सिस्टम प्रॉम्प्ट",
        before=r"(?:zeig|verrat|nenn|gib|wiederhol|druck|r[ée]v[èe]l|montr|affich|donn|rivel|mostr|ripet|repit"
        r"|repet|muestr|revel"
        r"|dime|diga|imprim|stampa|выведи|покажи|раскрой|скажи|повтори|输出|显示|告诉|重复|打印|泄露|toon|göster"
        r"|اعرض|दिखा|बता|what|give)",
    ),
    Rule(
        "extract_cjk",
        60,
        "システムプロンプト|初期指示|시스템 프롬프트|系统提示|系统指令|系統提示|초기 지시",
        r".{4,16}?(?:教え|表示|出力|見せ|알려|보여|출력|告诉我|发给我|输出|是什么)",
    ),
    Rule(
        "orders_translated",
        45,
        "neue anweisung|nouvelles instructions|nuevas instrucciones|nuove istruzioni|novas instruções|"
        "nieuwe instructies|ab sofort|"
        "désormais tu|a partir de ahora|d'ora in poi|a partir de agora|nota del sistema|nota di sistema|"
        "note système|nota do sistema|"
        "systemhinweis|systemnachricht|mensaje del sistema|ohne einschr|sans restriction|sin restricciones|"
        "senza restrizioni|"
        "sem restrições|новые инструкции|новая инструкция|新的指令|新指令|新しい指示|새로운 지시|yeni talimat|"
        "نظام جديد",
    ),
)
